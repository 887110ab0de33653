"""Octets of messages as texts for JSON: what is no UTF-8 becomes lone surrogates (PEP 383). Nothing is lost."""


def text_of(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def octets_of(text: str) -> bytes:
    """The reverse of `text_of`. Raises TypeError for what is no text."""
    return bytes(text, "utf-8", "surrogateescape")
