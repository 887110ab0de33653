"""An order line in Flask. Start it with `flask --app app run --port 18000`; test it with `pytest`."""

from flask import Flask, Response, render_template_string, request

app = Flask(__name__)

ORDERS = {"1234": "order-in-the-oven.wav", "5678": "order-on-its-way.wav"}
# Flask escapes what it puts into a template string.
SAY = """<Response><PlaySound>{{ sound }}</PlaySound><Hangup/></Response>"""
RING = """<Response>
  <SimpleTransfer timeout="20" final="no">{{ ",".join(numbers) }}</SimpleTransfer>
  <PlaySound>sorry.wav</PlaySound>
</Response>"""


def xml(template: str, **values: object) -> Response:
    return Response(render_template_string(template, **values), content_type="application/xml; charset=utf-8")


@app.post("/order")
def order() -> Response:
    """The caller has dialled an order number: say how far it is, or ring the shop."""
    sound = ORDERS.get(request.args["number"])
    if sound:
        return xml(SAY, sound=sound)
    app.logger.info("%s asks for order %s", request.form["CallerIDNum"], request.args["number"])
    return xml(RING, numbers=["000*306", "000*307"])
