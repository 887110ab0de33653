"""What this user agent can do, and the headers that say so (RFC 3261 20.1, 20.5, 20.37)."""

ALLOWED = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE", "INFO", "PRACK", "REFER")
KNOWN = (*ALLOWED, "REGISTER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH")
"""Methods that are refused with 405; all others are refused with 501."""
EXTENSIONS = ("100rel", "norefersub", "timer")
"""norefersub: a REFER may ask for no NOTIFY (RFC 4488).

100rel: we send PRACK for a callee's reliable provisional responses. We send no provisional response above 100
ourselves, so a caller that requires 100rel gets what it requires (RFC 3262 3)."""
REOFFER_EXTENSIONS = tuple(tag for tag in EXTENSIONS if tag != "100rel")
"""Of a re-INVITE of ours: its provisional responses get no PRACK, so they must not be reliable."""

_WITHOUT_REFER = tuple(method for method in ALLOWED if method != "REFER")
SUPPORTED = ("Supported", ", ".join(EXTENSIONS))
REOFFER_SUPPORTED = ("Supported", ", ".join(REOFFER_EXTENSIONS))
ACCEPT_SDP = ("Accept", "application/sdp")
SDP_TYPE = ("Content-Type", "application/sdp")


def allowed(*, refer: bool) -> tuple[str, ...]:
    """The methods that we take."""
    return ALLOWED if refer else _WITHOUT_REFER


def allow(*, refer: bool) -> tuple[str, str]:
    """The header Allow."""
    return "Allow", ", ".join(allowed(refer=refer))
