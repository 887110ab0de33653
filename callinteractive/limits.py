"""Limits that more than one process keeps to. A limit of one process stands where it is kept."""

OVERLOAD_WAIT_S = 0.1
"""A sidecar refuses an INVITE that has waited longer than this in its socket. Kamailio then spares it for as long.

A third of the silence after which Kamailio tries another sidecar.
"""
OVERLOAD_RETRY_S = 5
"""When a caller who was refused may try again (Retry-After, RFC 3261 20.33)."""
DRAINING_RETRY_S = 30
"""The same for a caller who is refused because what he has reached is about to stop."""
