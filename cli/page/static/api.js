// The API of this host. Its token comes in the fragment of the link that `callinteractive page` prints, which no browser
// sends to a server. It stays in this origin's storage: a cookie would go to every port of the host.

const KEY = "callinteractive.token";

export class Refused extends Error {
  constructor(status, body) {
    super(body.detail ?? `HTTP status ${status}`);
    this.status = status;
    this.body = body;
  }
}

export function takeToken() {
  const found = location.hash.match(/^#token=([^&]+)/);
  if (!found) return;
  try { keepToken(decodeURIComponent(found[1])); } catch { /* half of a link: the login asks */ }
  history.replaceState(null, "", location.pathname + "#/");
}

export const hasToken = () => Boolean(localStorage.getItem(KEY));
export const keepToken = token => localStorage.setItem(KEY, token.trim());

export async function ask(path, body, method) {
  const response = await send(path, body, method);
  return response.json();
}

export async function send(path, body, method = body === undefined ? "GET" : "POST") {
  const token = localStorage.getItem(KEY) ?? "";
  // Tokens are ASCII. `fetch` refuses other characters in a header with an error that no person understands.
  if (!/^[\x21-\x7e]*$/.test(token)) throw new Refused(401, { detail: "This is no token: it has other characters than those of a link." });
  const headers = { Authorization: `Bearer ${token}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
  });
  if (response.ok) return response;
  let said = {};
  try { said = await response.json(); } catch { /* no JSON: the status says it */ }
  if (response.status === 401) said = { detail: "The API does not know this token." };
  throw new Refused(response.status, said);
}
