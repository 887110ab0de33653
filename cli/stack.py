"""What runs on one machine: Kamailio, RTPengine and the sidecars, started, watched and stopped together."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from callinteractive.model import Api, Edge, Sidecar, Site
from cli import ports, tls, versions, watchdog
from cli.api.part import api_spec
from cli.configuration import handed_on
from cli.drain import Countdown, refuse_calls
from cli.kamailio import certificate_problems, kamailio_spec, tls_files
from cli.partline import APPLICATION, OF_SIDECARS
from cli.partlog import OWN_NAME, PartLog
from cli.parts import Parts
from cli.process import STOP_GRACE_S, Process, ProcessSpec, StackError, describe_exit
from cli.rtpengine import rtpengine_spec
from cli.sidecar import DRAIN_S, sidecar_spec
from cli.sounds import sounds_spec
from cli.web_application import ADVICE, web_application_spec
from sidecar import descriptor_store

READY_TIMEOUT_S = 30.0
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 30.0
STABLE_AFTER_S = 1.0
"""One that has run for so long does not fail at its start: it is started again without delay."""

NOT_NOW_BACKOFF_S = 1.0
"""What could not even be started is tried so often: that costs little, and nobody knows when there is memory again."""
_NOT_NOW = (OSError, RuntimeError)
"""What a machine without memory, processes or threads raises: `RuntimeError: can't start new thread`."""


class Stack:
    """The processes of one site: ``start``, ``watch``, ``drain``, then ``close``, which is right after any failure too.

    RTPengine starts first and Kamailio last, so that the first call that is accepted finds all it needs. The sidecars
    stop first, since the BYEs of their calls still go through Kamailio and their sound through RTPengine. So it is too
    if we are killed: the sidecars hold the writing end of a pipe, and both others end when nobody does any more.
    """

    def __init__(
        self,
        site: Site,
        site_path: Path,
        ivr_path: Path,
        *,
        run_dir: Path,
        parts: Parts,
        log: PartLog,
        state_dir: Path | None = None,
        serves_api: bool = False,
        app: str | None = None,
    ) -> None:
        """`parts` are those to run here; the others run elsewhere. serves_api: the site's API is here too.

        `app` is a shell command: the user's web application.
        """
        self._site = site
        self._parts = parts
        self._site_path = site_path
        self._ivr_path = ivr_path
        self._run_dir = run_dir
        self._state_dir = state_dir
        self._api = site.api if serves_api else None
        self._app = app
        self._log = log
        self._sidecars: dict[str, Process] = {}
        self._daemons: dict[str, Process] = {}
        self._is_draining = False
        self._drained: set[str] = set()
        """Names of the sidecars that have ended because their last call has."""
        self._last_r, self._last_w = os.pipe()
        self._stores: dict[str, descriptor_store.Pair] = {}
        """Of each sidecar: what it leaves to the one that is started in its place."""

    async def start(self) -> None:
        """Start every part and return when each answers. Raises StackError, whose text is for the operator."""
        parts, site, paths = self._parts, self._site, (self._site_path, self._ivr_path)
        problems = versions.problems(parts.kinds) or ports.problems(parts)
        problems += certificate_problems(parts.edges, self._site_path)
        if self._api is not None and self._api.is_asked_for and (problem := ports.ports_of_api(self._api).problem()):
            problems.append(problem)
        if problems:
            raise StackError("\n".join(problems))
        if self._app is not None:
            await self._start_all([web_application_spec(self._app)])
        await self._start_all(
            rtpengine_spec(site, self._run_dir, engine, self._state_dir) for engine in parts.rtpengines
        )
        if parts.rtpengines and not parts.sidecars:
            await self._convert_sounds()
        where = self._run_dir, self._log.file
        await self._start_all(sidecar_spec(site, *paths, sidecar.index, "json", *where) for sidecar in parts.sidecars)
        await self._start_all(
            kamailio_spec(site, *paths, self._dir_of(edge), self._state_dir, edge) for edge in parts.edges
        )
        if self._app is not None:
            await self._daemons[APPLICATION].wait_stable(STABLE_AFTER_S, ADVICE)

    async def _convert_sounds(self) -> None:
        """RTPengine plays files of its own host, and no sidecar here makes them."""
        process = await Process.start(sounds_spec(self._site_path), self._log)
        try:
            await process.wait()
        finally:
            process.kill()

    def _dir_of(self, edge: Edge) -> Path:
        """Where this Kamailio keeps its files."""
        if len(self._parts.edges) == 1:
            return self._run_dir
        own = self._run_dir / edge.name
        own.mkdir(exist_ok=True)
        return own

    def _edge_dirs(self) -> list[Path]:
        return [self._dir_of(edge) for edge in self._parts.edges]

    async def watch(self) -> None:
        """Restart whatever dies, until cancelled."""
        async with asyncio.TaskGroup() as keepers:
            for process in self._everything():
                keepers.create_task(self._keep(process))
            if self._api is not None:
                keepers.create_task(self._keep_api(self._api))
            tell, asks = partial(self._log, OWN_NAME), self._site.asks_for_certificates
            for edge in self._parts.edges:
                if files := tls_files(edge, self._site_path):
                    keepers.create_task(tls.keep_current(files, self._dir_of(edge), tell, asks=asks))

    async def drain(self) -> None:
        """Let no new calls in, and wait until the others have ended, for the site's `drain_s` at most."""
        active = handed_on()
        site = found.site if active and (found := active.read()) else self._site  # it may have been reloaded
        limit_s = DRAIN_S if site.drain_s is None else site.drain_s
        if not limit_s:
            return
        self._is_draining = True
        edges = self._edge_dirs()
        await asyncio.gather(*map(refuse_calls, edges))
        for process in self._sidecars.values():
            process.ask_to_stop()
        await Countdown(limit_s, self._left, edges, partial(self._log, OWN_NAME)).run()

    def _left(self) -> list[Sidecar]:
        """The sidecars that have not drained yet."""
        return [each for each in self._parts.sidecars if f"{OF_SIDECARS}{each.index}" not in self._drained]

    async def close(self) -> None:
        """Stop every part in order. Takes at most three times STOP_GRACE_S."""
        await asyncio.gather(*(process.stop(STOP_GRACE_S) for process in self._sidecars.values()))
        for process in reversed(self._daemons.values()):
            await process.stop(STOP_GRACE_S)

    def kill(self) -> None:
        """End everything at once: for the person who presses Ctrl-C a second time."""
        for process in self._everything():
            process.kill()

    def _everything(self) -> list[Process]:
        return [*self._sidecars.values(), *self._daemons.values()]

    async def _start_all(self, specs: Iterable[ProcessSpec]) -> None:
        try:
            async with asyncio.TaskGroup() as starting:
                for spec in specs:
                    starting.create_task(self._start_one(spec))
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _start_one(self, spec: ProcessSpec) -> Process:
        is_sidecar = spec.name.startswith(OF_SIDECARS)
        if is_sidecar:
            if spec.name not in self._stores:
                self._stores[spec.name] = descriptor_store.make_pair()
            ends = [end.fileno() for end in self._stores[spec.name]]
            env = {**spec.env, descriptor_store.VARIABLE: ",".join(map(str, ends))}
            spec = replace(spec, env=env, pass_fds=tuple({*spec.pass_fds, *ends, self._last_w}))
        else:
            spec = replace(spec, ends_after=self._last_r)
        process = await Process.start(spec, self._log)
        # Known before it is ready, so that close() ends it also when it never gets ready.
        (self._sidecars if is_sidecar else self._daemons)[spec.name] = process
        await process.wait_ready(READY_TIMEOUT_S)
        is_known = spec.name != APPLICATION  # nobody asks that one whether it answers
        self._log(OWN_NAME, f"{spec.name} is {'ready' if is_known else 'started'} (pid {process.pid})")
        return process

    async def _keep_api(self, api: Api) -> None:
        """Calls need no API: they never wait for it, and go on without it."""
        if problem := ports.ports_of_api(api).problem():
            self._log.own("warning", f"no API and no page: {problem}")
            return
        place = self._state_dir or self._run_dir
        try:
            paths = self._site_path, self._ivr_path, place.resolve()
            process = await self._start_one(api_spec(api, *paths, "json"))
            self._log(OWN_NAME, f"the page is at http://{api.listen}; `callinteractive page` prints its link")
        except (StackError, *_NOT_NOW) as error:
            self._log.own("warning", *str(error).splitlines())
            return
        await self._keep(process)

    async def _keep(self, process: Process) -> None:
        spec = process.spec
        backoff_s = FIRST_BACKOFF_S
        before: Process | None = None
        while True:
            started = time.monotonic()
            status = await self._until_end(process)
            if self._is_draining and not status and process in self._sidecars.values():
                self._drained.add(spec.name)
                return
            if time.monotonic() - started > STABLE_AFTER_S:
                backoff_s = FIRST_BACKOFF_S
            if process is before:
                backoff_s = min(backoff_s, NOT_NOW_BACKOFF_S)
            else:
                level = "error" if status else "info"  # a sidecar that has drained ends so
                again = f"starting it again in {backoff_s:g} s"
                self._log.own(level, f"{spec.name} ended ({describe_exit(status)}); {again}")
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
            before, process = process, await self._restart(spec)
            if self._is_draining:
                await self._let_drain(process)

    async def _let_drain(self, process: Process) -> None:
        """It was not there when all were asked, and has its calls again."""
        if process in self._sidecars.values():
            process.ask_to_stop()
        else:
            await asyncio.gather(*map(refuse_calls, self._edge_dirs()))

    async def _until_end(self, process: Process) -> int:
        """Wait until it ends, and end it if it hangs."""
        spec = process.spec
        watching = asyncio.create_task(watchdog.watch(process.pid, spec.alive or spec.ready, spec.asleep_s))
        ending = asyncio.create_task(process.wait())
        try:
            await asyncio.wait({watching, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                self._log.own("error", f"{spec.name} {watching.result()}: killed")
                process.kill()
            return await ending
        finally:
            watching.cancel()
            ending.cancel()

    async def _restart(self, spec: ProcessSpec) -> Process:
        """Start it anew; one that doesn't get ready is stopped, and counts as ended.

        So does one that can't be started: the machine may be out of memory or processes, and the others have calls.
        """
        try:
            return await self._start_one(spec)
        except (StackError, *_NOT_NOW) as error:
            self._log.own("error", *_told(spec, error))
            process = (self._sidecars | self._daemons)[spec.name]
            await process.stop(STOP_GRACE_S)
            return process


def _told(spec: ProcessSpec, error: Exception) -> list[str]:
    if isinstance(error, StackError):
        return str(error).splitlines()
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return [f"{spec.name} can't be started now: {reason}"]


async def run(stack: Stack, on_ready: Callable[[], None]) -> None:
    """Start the stack, say so, watch it until a signal, drain and stop it. Raises StackError when it can't start.

    The first SIGINT, SIGTERM or SIGHUP (the terminal is closed) lets calls end, the second ends them, the third kills.
    """
    stages = [asyncio.Event(), asyncio.Event()]

    def go_on() -> None:
        if stages:
            stages.pop(0).set()
        else:
            stack.kill()

    asked, insisted = stages
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            loop.add_signal_handler(number, go_on)
    start = asyncio.create_task(stack.start())
    watch: asyncio.Task[None] | None = None
    try:
        if await _first_of(start, asked.wait()):
            on_ready()
            watch = asyncio.create_task(stack.watch())
            await _first_of(asyncio.shield(watch), asked.wait())  # a part that dies while calls end is needed still
            await _first_of(stack.drain(), insisted.wait())
    finally:
        stages.clear()
        for task in filter(None, (start, watch)):
            task.cancel()
            await asyncio.wait([task])
        await stack.close()


async def _first_of(work: Coroutine[Any, Any, None] | asyncio.Future[None], end: Coroutine[Any, Any, Any]) -> bool:
    """Whether `work` was done before `end`. Raises what `work` raises."""
    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(end)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    is_done = tasks[0].done()
    if is_done:
        tasks[0].result()
    else:
        tasks[0].cancel()
    tasks[1].cancel()
    return is_done
