"""The order line in FastAPI. Start it with `uvicorn app:app --port 18000`; it needs `python-multipart` for forms."""

from typing import Annotated
from xml.sax.saxutils import escape

from fastapi import FastAPI, Form, Response

app = FastAPI()
ORDERS = {"1234": "order-in-the-oven.wav", "5678": "order-on-its-way.wav"}


@app.post("/order")
def order(number: str, caller: Annotated[str, Form(alias="CallerIDNum")]) -> Response:
    """The caller has dialled an order number: say how far it is, or ring the shop."""
    sound = ORDERS.get(number)
    if sound:
        return xml(f"<PlaySound>{escape(sound)}</PlaySound><Hangup/>")
    print(f"{caller} asks for order {number}")
    ring = '<SimpleTransfer timeout="20" final="no">000*306,000*307</SimpleTransfer>'
    return xml(ring + "<PlaySound>sorry.wav</PlaySound>")


def xml(actions: str) -> Response:
    return Response(f"<Response>{actions}</Response>", media_type="application/xml")
