"""Limits that more than one process keeps to. A limit of one process stands where it is kept."""

MAX_SIDECARS = 100
"""Sidecars of a host: more than it has cores. Each has two ports, after `base_port` and `metrics_port`."""

OVERLOAD_WAIT_S = 0.1
"""A sidecar refuses an INVITE that has waited longer than this in its socket. Kamailio then spares it for as long.

A third of the silence after which Kamailio tries another sidecar.
"""
OVERLOAD_RETRY_S = 5
"""When a caller who was refused may try again (Retry-After, RFC 3261 20.33)."""
