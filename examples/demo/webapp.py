"""Pizza Line's web application: an ordinary HTTP server. Its XML tells the IVR what to do next.

Use any language and framework. This example needs only Python's standard library: ``python3 webapp.py``.
"""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

ADDRESS = ("127.0.0.1", 18000)
ORDERS = {"1234": "order-in-the-oven.wav", "5678": "order-on-its-way.wav"}


def follow_order(order: str, caller: str) -> str:
    """The answer to POST /order?number=…: say how far the order is, then hang up."""
    print(f"{caller} asks for order {order or '(nothing dialled)'}", flush=True)
    sound = ORDERS.get(order)
    if sound is None:  # tell the caller, then go back to the main menu
        return '<PlaySound>order-unknown.wav</PlaySound><Jump context="1"/>'
    return f"<PlaySound>{escape(sound)}</PlaySound><PlaySound>goodbye.wav</PlaySound><Hangup/>"


class PizzaLine(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)  # from the URL in ivr.yaml: number=$order
        call = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())  # who calls whom
        if url.path != "/order":
            self.send_error(404)
            return
        actions = follow_order(query.get("number", [""])[0], call["CallerIDNum"][0])
        self.reply(f'<?xml version="1.0" encoding="UTF-8"?>\n<Response>{actions}</Response>')

    def reply(self, xml: str) -> None:
        body = xml.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    with ThreadingHTTPServer(ADDRESS, PizzaLine) as server:
        print("Pizza Line's web application: http://{}:{}/".format(*ADDRESS), flush=True)
        server.serve_forever()
