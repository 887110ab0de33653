"""The routing script that runs inside Kamailio: it decides where SIP goes, never what a call does.

A worker does nothing else while a callback runs. So callbacks use no HTTP, no files and no sleep.
The one exception is `kemi.late_ringing`: 10 ms, where two phones of one call answer and ring at the same instant.
"""
