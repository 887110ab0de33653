"""Layer 1: SIP messages, their grammar and encoding (RFC 3261 7, 25)."""
