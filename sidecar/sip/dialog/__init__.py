"""Layer 3: dialogs and the session within each (RFC 3261 12 to 15)."""
