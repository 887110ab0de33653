"""The shared core of Call Interactive: what an IVR is, what is asked of the web application, what its answer means.

Pure: no I/O, no event loop, no SIP, no threads, no clock. Kamailio's KEMI script, the sidecar and the command
line import it; it imports none of them.
"""
