"""What the URLs of Redis servers have in common, whatever is kept there (site.yaml)."""

from __future__ import annotations

PASSWORD = r"[0-9A-Za-z._~+=-]{1,128}"
"""Nothing in it is decoded, so it may have nothing that ends it."""
HOST = r"(?![0-9A-Za-z.-]{254})[0-9A-Za-z-]{1,63}(?:\.[0-9A-Za-z-]{1,63}){0,126}\.?"
"""An address or a name, as the resolver takes it: of labels, each with something in it (RFC 1035 2.3.4)."""
PORT = r"[0-9]{1,5}"
NUMBER = r"[0-9]{1,4}"
PASSWORD_WORDS = "the password of letters, digits and . _ ~ + = - only"


def is_port(text: str) -> bool:
    return 1 <= int(text) <= 65535
