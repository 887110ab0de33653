"""Layer 4: the user agent: UAS and UAC, one leg for each call (RFC 3261 8)."""
