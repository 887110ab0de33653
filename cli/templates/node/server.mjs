// Pizza Line's web application. The IVR asks it what a call does next (`call_interactive` in ivr.yaml).
// It needs nothing but Node.

import { createServer } from "node:http";

const [host, port] = ["127.0.0.1", 8000];
const orders = new Map([["1234", "order-in-the-oven.wav"], ["5678", "order-on-its-way.wav"]]);

/** Say how far the order is, then hang up. */
function order(number, caller) {
  console.log(`${caller} asks for order ${number || "(nothing dialled)"}`);
  const sound = orders.get(number);
  return sound === undefined
    ? '<PlaySound>order-unknown.wav</PlaySound><Jump context="1"/>' // tell the caller, then go back to the main menu
    : `<PlaySound>${sound}</PlaySound><PlaySound>goodbye.wav</PlaySound><Hangup/>`;
}

async function answer(request, response) {
  const url = new URL(request.url, "http://localhost");
  if (request.method !== "POST" || url.pathname !== "/order") {
    response.writeHead(404).end("There is only POST /order.\n");
    return;
  }
  let body = "";
  for await (const chunk of request) body += chunk;
  const call = new URLSearchParams(body); // who calls whom
  const number = url.searchParams.get("number"); // from the URL in ivr.yaml: number=$order
  response.writeHead(200, { "Content-Type": "application/xml" });
  response.end(`<Response>${order(number, call.get("CallerIDNum"))}</Response>`);
}

const server = createServer((request, response) => {
  answer(request, response).catch(error => { // a request that is broken, or that nobody waits for any more
    console.error(error.message);
    response.destroy();
  });
});

server.listen(port, host, () => console.log(`Pizza Line's web application: http://${host}:${port}/`));
