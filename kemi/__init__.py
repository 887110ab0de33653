"""The routing script that runs inside Kamailio: it decides where SIP goes, never what a call does.

Every callback runs to its end while its worker waits: no HTTP, no file, no sleep once Kamailio serves calls.
"""
