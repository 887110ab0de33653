// Check that a request comes from your IVR: Standard Webhooks signatures. Copy this file into your application.
//
//   verify(["whsec_…"], request.headers, payload)
//
// payload: of a POST its body, as it came; of a GET its path and query (request.url of Node's http).
import { createHmac, timingSafeEqual } from "node:crypto";

const TOLERANCE_S = 300;

// Whether one of the secrets has signed it, less than five minutes ago. `headers` knows names in lower case.
export function verify(secrets, headers, payload, now = Date.now() / 1000) {
  const sentAt = headers["webhook-timestamp"] ?? "";
  if (!/^\d{1,12}$/.test(sentAt) || Math.abs(now - Number(sentAt)) > TOLERANCE_S) return false;
  const given = (headers["webhook-signature"] ?? "").split(" ").filter((item) => item.startsWith("v1,"));
  return secrets.some((secret) => {
    const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
    if (key.length < 24) return false; // an empty secret, of a variable that is not set: everybody could sign with it
    const expected = createHmac("sha256", key)
      .update(`${headers["webhook-id"] ?? ""}.${sentAt}.`)
      .update(payload)
      .digest();
    return given.some((item) => {
      const signature = Buffer.from(item.slice(3), "base64");
      return signature.length === expected.length && timingSafeEqual(signature, expected);
    });
  });
}
