"""Pizza Line's web application. The IVR asks it what a call does next (`call_interactive` in ivr.yaml)."""

from xml.sax.saxutils import escape

from flask import Flask, Response, request

app = Flask(__name__)
ORDERS = {"1234": "order-in-the-oven.wav", "5678": "order-on-its-way.wav"}


@app.post("/order")
def order() -> Response:
    """Say how far the order is, then hang up."""
    number = request.args.get("number", "")  # from the URL in ivr.yaml: number=$order
    caller = request.form.get("CallerIDNum", "")  # who calls whom is in the form
    print(f"{caller} asks for order {number or '(nothing dialled)'}", flush=True)
    sound = ORDERS.get(number)
    if sound is None:  # tell the caller, then go back to the main menu
        return answer('<PlaySound>order-unknown.wav</PlaySound><Jump context="1"/>')
    return answer(f"<PlaySound>{escape(sound)}</PlaySound><PlaySound>goodbye.wav</PlaySound><Hangup/>")


def answer(actions: str) -> Response:
    return Response(f"<Response>{actions}</Response>", mimetype="application/xml")
