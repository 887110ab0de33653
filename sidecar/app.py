"""A sidecar: put together, serving until told to stop, taken apart. `sidecar.process` runs one."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from callinteractive.errors import HeaderError, ScriptStateError
from callinteractive.fleet import ways
from callinteractive.headers import CallHeader
from callinteractive.keys import REPORTS, SIGNATURES, derive
from callinteractive.model import Ivr, IvrFile, Site
from callinteractive.prepared import Prepared
from sidecar import descriptor_store, live_stories, log, sip, site_sounds, systemd, tracing
from sidecar.admission import Admission, Unacknowledged
from sidecar.call.adopted import AdoptedCall, end_remains
from sidecar.call.call import Call, NewCall
from sidecar.call.saved import OverCallError, UnreadableCallError
from sidecar.call.services import Services, media_prefix
from sidecar.drain import DEFAULT_S, Drain
from sidecar.eager import EagerTask, begin
from sidecar.edges import Edges
from sidecar.events.sinks import Sinks
from sidecar.generations import Generations
from sidecar.host import Host, HostCommands
from sidecar.invite import attempt_in, entry_in, generation_in, resumption_in, tell_refused
from sidecar.live import Live
from sidecar.making import make
from sidecar.media.engines import Engines
from sidecar.media.sounds import SoundLibrary
from sidecar.metrics import Configured, Metrics
from sidecar.outcomes import Outcomes
from sidecar.parted import Parted
from sidecar.readiness import why_not_ready
from sidecar.reload import Reload, Source
from sidecar.reports import Reports
from sidecar.rtpengine_metrics import EngineCounters, RtpengineMetrics
from sidecar.sip_figures import SipFigures
from sidecar.state.figures import StateFigures
from sidecar.state.keeper import Data, Keeper
from sidecar.state.storing import StoringKeeper
from sidecar.story import Stories
from sidecar.transfer_status import TransferStatuses, kept_in
from sidecar.trust import Trust
from sidecar.webhook import Webhook
from sidecar.webhook_figures import WebhookFigures

LOG = structlog.get_logger()
TRYING_DELAY_S = 0.03
"""A call that is answered sooner needs no 100. It must stay short: Kamailio gives up a sidecar that is silent for
300 ms. Under load the INVITE may have waited a third of that already, and the 100 has to wait too."""
TRYING_REPEAT_S = 1.0
"""How often the 100 of an undecided call is repeated. Kamailio asks another sidecar after 3 s of silence."""
STOP_S = 3.0
"""How long a stopping sidecar waits for its calls' BYEs to be answered and their media released."""


class Sidecar:
    """The calls of one process and what they share."""

    def __init__(
        self,
        site: Site,
        ivr_file: IvrFile,
        index: int,
        key: bytes,
        keeper: Keeper,
        *,
        site_dir: Path = Path(),
        folder: Path | None = None,
        drain_s: float = DEFAULT_S,
        commands: HostCommands | None = None,
        source: Source | None = None,
    ) -> None:
        """`folder`: for what waits on disk, events and requests to a status_url; None: there is no place for it.

        The rest is as `sidecar.process.run` takes it.
        """
        self._site, self._site_dir, self._ivr_file = site, site_dir, ivr_file
        self._index = index
        self._own = site.sidecars[index]
        self._by_key: dict[str, Call] = {}
        self._parted = Parted()
        self._edges = Edges(site.edges, self._own.address.host)
        self._key, self._reports_key = derive(key, SIGNATURES), derive(key, REPORTS)
        self._live = Live(key, index, self._by_key, self._make)
        self._unacknowledged = Unacknowledged(self._own.max_unacknowledged)
        self._calls: set[EagerTask] = set()
        self._transport: sip.Transport | None = None
        self._keeper = keeper
        self._stories = Stories()
        self._sinks = Sinks(site.events, site_dir, folder and folder / f"events-{index}")
        self._statuses_folder = folder and folder / f"status-{index}"
        self._statuses: TransferStatuses | None = None
        keeper.on_adopt, keeper.on_surrender = self._adopt, self._surrender
        self._drain_s = drain_s
        self._drain = Drain(lambda: len(self._calls), self._may_drain_s, self._refuse_calls)
        self._host = Host(self._drain, lambda: len(self._calls), commands)
        self._reload: Reload | None = None
        if source is not None:
            self._reload = Reload(source, index, site, lambda new: site_sounds.load(new, site_dir, index), self._learn)

    async def serve(self, sounds: SoundLibrary) -> None:
        """Serve until stopped; then end the calls that are left, within `STOP_S`."""
        async with AsyncExitStack() as stack:
            self._services = await self._open(stack, sounds)
            self._generations = Generations(self._services)
            self._keeper.start()  # before the first datagram is read: it may be for one of these calls
            if self._statuses is not None:
                await self._statuses.open()
            self._drain.listen()
            self._metrics.why_not_ready = self._why_not_ready
            LOG.info("sidecar ready", index=self._index, sip=str(self._own.address))
            log.write_to_file()
            systemd.notify(systemd.READY)
            beating = asyncio.create_task(systemd.beat())
            if self._reload is not None:
                stack.callback(self._reload.close)
                stack.callback(asyncio.create_task(self._reload.run()).cancel)
            await self._drain.is_over.wait()
            systemd.notify(systemd.STOPPING)
            self._refuse_calls()
            handed_over = bool(self._calls) and await self._services.keeper.release()
            LOG.info("sidecar stops", calls=len(self._calls), handed_over=handed_over)
            for call in list(self._calls):
                call.cancel()
            if self._calls:
                await asyncio.wait([call.ended() for call in self._calls], timeout=STOP_S)
            await self._quiet_down()
            beating.cancel()

    async def _open(self, stack: AsyncExitStack, sounds: SoundLibrary) -> Services:
        """Everything that calls share. `stack` closes it, in the reverse order."""
        store = descriptor_store.of_environment()
        engines = Engines(self._site.rtpengines, self._keeper.gate, lambda: self._keeper.is_failing, store)
        stack.push_async_callback(engines.close)
        prefix = media_prefix(self._site.node, self._index)
        stack.push_async_callback(self._keeper.close)
        await engines.open(prefix, await self._keeper.open())
        webhook = await stack.enter_async_context(Webhook(self._keeper.gate, self._site_dir))
        for problem in webhook.learn(self._ivr_file):
            LOG.error("the web application of an IVR is not asked", reason=problem)
        kept = kept_in(self._statuses_folder)
        statuses = self._statuses = TransferStatuses(self._stories, webhook, self._present_ivr, kept)
        stack.push_async_callback(statuses.close)
        await self._sinks.open(self._stories)
        stack.push_async_callback(self._sinks.close)
        if traces := tracing.begin(self._stories, f"{self._site.node}-{self._index}", os.environ):
            webhook.trace(traces.traceparent)
            stack.push_async_callback(traces.close)
        self._metrics = self._make_metrics(engines, webhook)
        live, stories = self._live, live_stories.routes(self._stories, self._live.guarded, self._seen)
        routes = *live.routes(), *stories, *self._host.routes(live.guarded)
        stack.push_async_callback((await self._metrics.serve(self._own.metrics, routes)).cleanup)
        transport = self._transport = await self._open_transport(engines)
        stack.callback(transport.close)
        return Services(
            media_prefix=prefix,
            pool=self._own.pool,
            ivr_file=self._ivr_file,
            agent=transport.agent,
            edges=self._edges,
            engines=engines,
            sounds=sounds,
            ringback=sounds.ringback(self._site.defaults.ringback),
            defaults=self._site.defaults,
            webhook=webhook,
            unacknowledged=self._unacknowledged,
            observe=self._metrics.observe,
            keeper=self._keeper,
            stories=self._stories,
        )

    def _make_metrics(self, engines: Engines, webhook: Webhook) -> Metrics:
        """All but those of SIP, whose transport is not there yet."""
        metrics = Metrics(self._gauges, self._counts)
        metrics.expect(ivr.number for ivr in self._ivr_file.ivrs)
        metrics.include(outcomes := Outcomes())
        self._stories.watch(outcomes.EVENTS, outcomes.take)
        metrics.include(WebhookFigures(webhook.breakers))
        metrics.include(EngineCounters(engines))
        if isinstance(self._keeper, StoringKeeper):
            metrics.include(StateFigures(self._keeper))
        metrics.include(Configured(self._configuration))
        if self._index == 0:
            metrics.include(RtpengineMetrics(engines))
        return metrics

    async def _open_transport(self, engines: Engines) -> sip.Transport:
        """The socket of SIP and its user agent, which asks the rest of the sidecar by these functions."""
        config = sip.UaConfig(
            trying_delay_s=TRYING_DELAY_S, trying_repeat_s=TRYING_REPEAT_S, takes_refer=self._site.refer
        )
        known = ways(self._site.edges, self._own.address.host)
        transport = await sip.Transport.open(self._own.address, self._on_invite, config, known, self._keeper.gate)
        agent = transport.agent
        agent.guard = Trust(self._edges, self._key, agent.refusals)
        agent.on_message = Reports(self._stories, self._reports_key, agent.refusals).take
        agent.hold = self._keeper.hold
        agent.when_drained = partial(self._metrics.count_refused, "draining")
        admission = agent.admit = Admission(
            transport.waited_s,
            lambda: engines.backlog,
            self._metrics.count_refused,
            calls=lambda: len(self._calls),
            most_calls=self._own.max_calls,
            unacknowledged=self._unacknowledged,
        )
        agent.remark = admission.load.remark
        self._metrics.include(SipFigures(agent, admission))
        return transport

    def _on_invite(self, leg: sip.UasLeg, invite: sip.IncomingInvite) -> None:
        """A call from Kamailio, with its facts and where it enters its IVR."""
        try:
            facts = CallHeader.parse(invite.header(CallHeader.NAME) or "").facts
            entry = entry_in(invite)
            resumption, generation = resumption_in(invite), self._generations.of(generation_in(invite))
            attempt = attempt_in(invite)
        except HeaderError as error:
            change = "run the same release of this software as Kamailio does"
            self._services.agent.refusals.note(invite.request, 400, str(error), change)
            self._metrics.count_refused("headers")
            tell_refused(self._stories, invite, 400, str(error))
            leg.reject(400, "Missing Or Bad X-CI Header")
            return
        ivr = generation.ivrs.get(entry.ivr)
        if ivr is None:
            change = "give this host the same ivr.yaml as Kamailio's: callinteractive reload"
            reason = f"there is no IVR {entry.ivr!r} here"
            self._services.agent.refusals.note(invite.request, 404, reason, change)
            self._metrics.count_refused("no_ivr")
            tell_refused(self._stories, invite, 404, reason)
            leg.reject(404)
            return
        try:
            call = NewCall(generation.services, leg, invite, facts, ivr, resumption or entry, attempt)
        except ScriptStateError as error:
            change = "give all hosts the same release and the same ivr.yaml: callinteractive reload"
            self._services.agent.refusals.note(invite.request, 500, str(error), change)
            self._metrics.count_refused("script")
            leg.reject(500)
            return
        self._metrics.count_call(ivr.number)
        self._run(call)

    async def _make(self, order: dict[str, Any]) -> Call:
        """Raises ApiError."""
        call = await make(self._generations.present.services, self._site.node, order, self._why_not_ready)
        self._metrics.count_call(call.facts.called_extension)
        self._run(call)
        return call

    def _run(self, call: Call) -> None:
        self._by_key[call.key] = call
        self._watch(call.start(), call)

    def _watch(self, task: EagerTask, call: Call | None = None) -> None:
        self._calls.add(task)
        task.add_done_callback(partial(self._on_ended, call))

    def _learn(self, new: Prepared, sounds: SoundLibrary) -> None:
        """Calls that begin with this configuration from now on get what it says; all others keep theirs.

        Raises ValueError if a secret of its web applications can't be read, and what `SoundLibrary.ringback` does.
        """
        defaults = new.site.defaults
        ringback = sounds.ringback(defaults.ringback)  # first: it may fail
        if problems := self._services.webhook.learn(new.ivr_file):
            raise ValueError("; ".join(problems))
        self._site, self._ivr_file = new.site, new.ivr_file
        self._metrics.expect(ivr.number for ivr in new.ivr_file.ivrs)
        services = replace(self._services, ivr_file=new.ivr_file, sounds=sounds, ringback=ringback, defaults=defaults)
        self._generations.learn(services)

    def _adopt(self, key: str, data: Data) -> None:
        """A call of a dead process is ours now."""
        try:
            services = self._generations.of(str(data.get("generation", ""))).services
            call = AdoptedCall(services, key, data)
        except UnreadableCallError as error:
            if not isinstance(error, OverCallError):
                change = "give all sidecars the same release and the same ivr.yaml and site.yaml"
                LOG.error("a call of a dead sidecar ends", call=key, reason=str(error), change=change)
            self._watch(begin(end_remains(self._services, key, data)))
            return
        self._run(call)

    def _surrender(self, key: str) -> None:
        """This call is another sidecar's now."""
        if call := self._by_key.get(key) or self._parted.pop(key):
            call.forget()

    def _on_ended(self, call: Call | None, task: EagerTask) -> None:
        self._calls.discard(task)
        if call is not None and self._by_key.get(call.key) is call:  # a call that came back from Kamailio has its key
            del self._by_key[call.key]
            if self._keeper.is_failing:
                self._parted.add(call)
        self._drain.on_call_ended()

    def _refuse_calls(self) -> None:
        """New ones get 503, and so do the edges that ask whether we take calls: they use another sidecar."""
        self._services.agent.draining = True
        self._services.keeper.retire()

    def _may_drain_s(self) -> float:
        return self._drain_s if self._site.drain_s is None else self._site.drain_s

    async def _quiet_down(self) -> None:
        """Give our BYEs the time to be sent, for some wait for an ACK (RFC 3261 15), and to be answered."""
        for _ in range(20):
            if self._services.agent.counters.dialogs == 0:
                return
            await asyncio.sleep(0.05)

    def _seen(self) -> tuple[sip.Sighting, ...]:
        return tuple(self._transport.seen) if self._transport else ()

    def _present_ivr(self, number: str) -> Ivr | None:
        return self._generations.present.ivrs.get(number)

    def _configuration(self) -> tuple[str, str, str]:
        of = self._reload
        return of.name if of else "", self._ivr_file.generation, of.problem if of else ""

    def _why_not_ready(self) -> list[str]:
        return list(why_not_ready(self._services, len(self._calls), self._own.max_calls))

    def _gauges(self) -> dict[str, float]:
        counters = self._services.agent.counters
        return {
            "calls": len(self._calls),
            "legs": counters.legs,
            "dialogs": counters.dialogs,
            "transactions": counters.transactions,
            "timers": counters.timers,
            "unacknowledged": len(self._unacknowledged),
            "media": self._services.engines.digits.subscribers,
            "media_ready": sum(engine.sessions.waiting for engine in self._services.engines),
            "ng_commands": self._services.engines.waiting,
            "events_waiting": self._sinks.waiting,
            "statuses_waiting": self._statuses.waiting if self._statuses else 0,
        }

    def _counts(self) -> dict[str, float]:
        digits = self._services.engines.digits
        return {
            "log_lines_lost": log.lines_lost(),
            "digit_events": digits.received,
            "digit_events_ignored": digits.ignored,
            "events_lost": self._sinks.lost,
            "statuses_lost": self._statuses.lost if self._statuses else 0,
        }
