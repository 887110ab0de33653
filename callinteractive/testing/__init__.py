"""A test kit for your IVR: dial it in a test, and say what the caller must hear, what you are asked, who must ring.

    from callinteractive.testing import Caller

    def test_an_order():
        call = Caller("ivr.yaml", app).dial("000*332")
        call.hears("welcome.wav")
        call.press("1")

The script of the call is the one that runs real calls. There is no network and no waiting: time is a number. Unlike the
rest of the core this package reads files and asks web applications. The core does not import it.
"""

from callinteractive.testing.call import Call
from callinteractive.testing.caller import Caller
from callinteractive.testing.ringing import Ringing
from callinteractive.testing.web import Application, Request

__all__ = ("Application", "Call", "Caller", "Request", "Ringing")
