"""The routing script that runs inside Kamailio: it decides where SIP goes, never what a call does.

A worker does nothing else while a callback runs. So callbacks wait for nobody: no HTTP, no name server. What they read
and write of files is short, and in the run directory. Only `kemi.late_ringing` sleeps: 10 ms, where two phones of one
call answer and ring at the same instant.
"""
