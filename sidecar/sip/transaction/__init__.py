"""Layer 2: transactions (RFC 3261 17, RFC 6026), and the timers that they and all layers above use."""
