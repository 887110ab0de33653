"""The web application of the chaos tests: a process of its own, so that it can be killed.

``python -m tests.chaos.web HOST PORT LOG`` appends each request to LOG, one JSON object a line. Who calls from
+1555NNNNNNN is transferred to +1666NNNNNNN.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from aiohttp import web

DIP_S, SLOW_S = 2.0, 3.0
"""How long it thinks about the paths /dip and /slow."""
SOUND_HZ = 880
"""What a caller hears after /slow or /collected."""
XML = '<?xml version="1.0" encoding="UTF-8"?><Response>{}</Response>'


def callee_of(caller: str) -> str:
    return caller.replace("+1555", "+1666", 1)


class App:
    def __init__(self, log: Path) -> None:
        self._log = log

    async def serve(self, request: web.Request) -> web.StreamResponse:
        form = dict(await request.post())
        caller = str(form.get("CallerIDNum", ""))
        entry = {"at": time.time(), "path": request.path, "query": dict(request.query), "caller": caller}
        entry["id"] = request.headers.get("webhook-id", "")
        with self._log.open("a") as log:
            log.write(json.dumps(entry) + "\n")
        await asyncio.sleep({"/dip": DIP_S, "/slow": SLOW_S}.get(request.path, 0))
        transfer = f'<SimpleTransfer timeout="60">{callee_of(caller)}</SimpleTransfer>'
        sound = f"<PlaySound>tone-{SOUND_HZ}-20000.wav</PlaySound>"
        xml = transfer if request.path in ("/dip", "/plan") else sound
        return web.Response(text=XML.format(xml), content_type="text/xml")


def main() -> None:
    host, port, log = sys.argv[1:]
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", App(Path(log)).serve)
    web.run_app(application, host=host, port=int(port), print=None, access_log=None, reuse_address=True)


if __name__ == "__main__":
    main()
