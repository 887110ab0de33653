"""The shared core: what an IVR is, what it asks the web application, what the answer means.

It is pure: no I/O, no event loop, no SIP, no threads, no clock. Kamailio's KEMI script, the sidecar and the command
line import it. It imports none of them.
"""
