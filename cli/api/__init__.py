"""The API of a site: its live calls over HTTP, for programs, the command line and the page. `server` puts it together.

One process a host may serve it, for the whole fleet: it asks all sidecars (`sidecar.live`).
"""
