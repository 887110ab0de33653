"""Check that a request comes from your IVR: Standard Webhooks signatures. Copy this file into your application.

    verify(["whsec_…"], request.headers, payload)

payload: of a POST its body, as it came; of a GET its path and query, as they stand in the request line.
"""

import base64
import hmac
import time

TOLERANCE_S = 300


def verify(secrets, headers, payload, now=None):
    """Whether one of the secrets has signed it, less than five minutes ago. `headers` knows names in lower case."""
    message_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 12):
        return False
    if abs((now or time.time()) - int(sent_at)) > TOLERANCE_S:
        return False
    content = b"%s.%s.%s" % (message_id.encode(), sent_at.encode(), payload)
    given = [item[3:] for item in headers.get("webhook-signature", "").split() if item.startswith("v1,")]
    for secret in secrets:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        if len(key) < 24:  # an empty secret, of a variable that is not set: everybody could sign with it
            continue
        expected = base64.b64encode(hmac.digest(key, content, "sha256"))
        if any(hmac.compare_digest(expected, signature.encode()) for signature in given):
            return True
    return False
