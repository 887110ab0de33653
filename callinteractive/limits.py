"""Limits that more than one process keeps to. A limit of one process stands where it is kept."""

MAX_SIDECARS = 10
"""Sidecars of a host. RTPengine has one destination for all digit events: one decimal digit tells whose an event is."""
