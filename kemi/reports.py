"""What became of a call that a sidecar has left to us by 302: that sidecar is told, for the call's records (E1).

So is one of them of a call that none has had: from phone to phone (C8), or refused. A sidecar that answers a call with
503 gives it back to us. With any other status it has told the end itself.

The INVITE's own transaction remembers its branches. After the answer nothing is kept here: our Record-Route names the
sidecar and the CallID (`kemi.record_route`), and whichever edge sees the first BYE reports the end. If that sidecar
does not answer any more, another one of the site is told.

A message for each report would cost more than the rest of the call's end. So workers write reports down (`kemi.spool`),
and five times a second a process of its own sends what there is, many in one message.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from urllib.parse import unquote

from callinteractive.dispatcher import sidecar_groups
from callinteractive.events import transfer_failed
from callinteractive.facts import CallFacts
from callinteractive.headers import MAX_LENGTH, CallHeader
from callinteractive.model import Address, Sidecar
from callinteractive.report import METHOD, By, EndReport, LegReport, Report, joined, sign
from kemi import ksr, lost_media, nat
from kemi.record_route import MOST_REPORTED
from kemi.refusal import TERMINATED
from kemi.spool import Spool
from kemi.transaction import BranchPlan, transaction

_LONGEST = 160
_SHORT = 64
MOST_BODY = 4000
"""Kamailio's uac may have room for 4,086 octets."""
_MOST_RETURNED = MAX_LENGTH // 3 - 20
"""Of a header's value, in which a character may become three. A longer one would be refused, and the call with it."""
_MOST_FACTS = 1700
"""It has room for 2,048 octets of header lines. Longer facts are left out."""
_AROUND_FACTS = 12
"""Octets that `joined` needs for each report beside its own."""
_NAME_DIGITS = 4
"""They begin a call's name in Record-Route; its CallID follows."""
_NAME_LENGTH = _NAME_DIGITS + 32
MOST_REFUSED = 10
"""Calls that no sidecar has had and that are refused, in a second and a worker: so many have a record. The others are
counted, lest a flood of them costs the calls that go on."""
_GIVEN_BACK = (302, 503)
AGAIN_S = 1.0
"""When reports are sent again that there was no memory for."""


SPIRALS_ON = "transfer"
"""The user of an INVITE that spirals because it has too many branches. All others are numbers."""


class Reports:
    """`key` signs them. `spool`: where they wait; None: they are sent at once."""

    def __init__(self, sidecars: Sequence[Sidecar], key: bytes, spool: Spool | None = None) -> None:
        self._key = key
        self.spool = spool
        groups = sidecar_groups(sidecars)
        self._by_name: dict[str, tuple[Address, int]] = {
            name_of(sidecar.address): (sidecar.address, groups[sidecar.pool]) for sidecar in sidecars
        }
        self._names = tuple(self._by_name)
        self._left: list[str] = []
        """Lines of the spool that there was no memory to send, in the process that delivers."""
        self._again_at = 0.0
        self._second, self._refused = 0, 0
        """The refused calls that have a record, in that second."""

    def follow(self, facts: CallFacts) -> None:
        """We carry out the INVITE at hand by ourselves (C8): what becomes of it is reported."""
        if self._names:
            transaction.call = str(CallHeader(facts))
            transaction.reported = self._name(facts.call_id)

    def on_refused(self, facts: CallFacts, code: int, cause: str) -> None:
        """Request route: a call that no sidecar has had gets that status."""
        if self._names and self._has_record():
            name = self._name(facts.call_id)
            with _Harmless(name):
                end = EndReport("system", code, _now_ms(), cause[:_LONGEST])
                if ksr.is_new_call_cancelled():  # before it could be sent anywhere
                    end = EndReport("caller", TERMINATED, _now_ms())
                self._send(name, Report(facts.call_id, end=end), str(CallHeader(facts)))

    def _name(self, call_id: str) -> str:
        """Of a call that no sidecar has had: one of them gets its reports."""
        return self._names[int(call_id[:8], 16) % len(self._names)] + call_id

    def _has_record(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._refused = second, 0
        self._refused += 1
        return self._refused <= MOST_REFUSED

    @staticmethod
    def ending_with_it() -> str:
        """The calls that end with the dialog of the INVITE at hand, as Record-Route names them."""
        return (transaction.reported + transaction.reported_around)[: MOST_REPORTED * _NAME_LENGTH]

    @staticmethod
    def on_branch(index: int) -> None:
        """Branch route: it is about to be sent."""
        if transaction.reported:
            transaction.legs[index] = f"{_now_ms()} 0 0 0"

    @staticmethod
    def on_ringing(index: int) -> None:
        """Reply route: it rings."""
        if times := transaction.legs[index]:
            began, rang, ended, code = times.split()
            if rang == "0":
                transaction.legs[index] = f"{began} {_now_ms()} {ended} {code}"

    @staticmethod
    def on_branch_over(index: int, code: int) -> None:
        """It has failed, with that status; 0 where it was silent."""
        if times := transaction.legs[index]:
            began, rang, ended, _ = times.split()
            if ended == "0":
                transaction.legs[index] = f"{began} {rang} {_now_ms()} {code}"

    def on_answer(self, index: int) -> None:
        """Reply route: a 2xx. tm stops all other branches now. A 2xx that comes later, or again, tells nothing new."""
        if (call := transaction.reported) and not transaction.is_reported:
            transaction.is_reported = True
            with _Harmless(call):
                self._send(call, Report(_call_id(call), self._legs(_now_ms(), index)), transaction.call)

    def on_return(self) -> str:
        """Failure route: the INVITE comes back to a sidecar, which tells the rest. Returns a report for that one."""
        if call := transaction.reported:
            with _Harmless(call):
                if legs := self._legs(_now_ms()):
                    return texts_of(Report(_call_id(call), legs), _MOST_RETURNED)[0]  # 30 usual legs fit
        return ""

    @staticmethod
    def on_returned() -> None:
        """The INVITE has come back."""
        if transaction.reported:
            transaction.reported = ""  # until its next 302
            transaction.returned_from = transaction.reported_branches
            transaction.reported_branches = transaction.branches_used

    def on_failed(self, code: int, by: By) -> None:
        """Failure route: the call is over. `by`: who has ended it, unless the caller has given up."""
        if call := transaction.reported:
            now_ms = _now_ms()
            end = EndReport("caller" if ksr.is_cancelled() else by, code, now_ms)
            with _Harmless(call):
                self._send(call, Report(_call_id(call), self._legs(now_ms), end), transaction.call)

    def on_sidecar_failed(self, code: int, by: By) -> None:
        """Failure route of a sidecar: the call is over. It has told that itself, unless it has given the call back."""
        if transaction.reported:
            self.on_failed(code, by)
        elif ksr.failure_code() in _GIVEN_BACK or ksr.branch_timed_out():
            with _Harmless(transaction.call):
                self._tell_end(code, by)

    def _tell_end(self, code: int, by: By) -> None:
        teller, facts = transaction.teller, transaction.call
        if not self._names or not (teller or self._has_record()):
            return
        call_id = CallHeader.parse(facts).facts.call_id
        end = EndReport("caller" if ksr.is_cancelled() else by, code, _now_ms())
        returned_from = transaction.returned_from
        legs = self._legs(end.at_ms, first=returned_from) if returned_from else ()
        self._send(teller + call_id if teller else self._name(call_id), Report(call_id, legs, end), facts)

    def on_bye(self, calls: str, *, is_from_caller: bool) -> None:
        """A BYE has come. `calls`: as the dialog's Route has them."""
        for at in range(0, len(calls), _NAME_LENGTH):
            self._on_bye(calls[at : at + _NAME_LENGTH], is_from_caller=is_from_caller)

    def _on_bye(self, call: str, *, is_from_caller: bool) -> None:
        reason = ksr.header("Reason")[:_LONGEST]
        by: By = "system" if reason == lost_media.REASON else "caller" if is_from_caller else "callee"
        with _Harmless(call):
            self._send(call, Report(_call_id(call), end=EndReport(by, 200, _now_ms(), reason)))

    @staticmethod
    def _legs(now_ms: int, answered: int = -1, first: int = -1) -> tuple[LegReport, ...]:
        """Of the branches from `first` on; -1: of this transfer."""
        legs = []
        for index in range(transaction.reported_branches if first < 0 else first, transaction.branches_used):
            branch = transaction.branches.get(index)
            times = transaction.legs[index]
            if branch and times:
                legs.append(_leg(index, transaction.plans[branch.uri], branch.uri, times, now_ms, answered))
        return tuple(legs)

    def _send(self, call: str, report: Report, facts: str = "") -> None:
        """`facts`: the value of X-CI-Call, for a sidecar that does not know the call."""
        if len(facts) > _MOST_FACTS:
            facts = ""
        for text in texts_of(report):
            if self.spool is None or not self.spool.add(f"{call}\t{facts}\t{text}"):
                self._send_to(self._living(call), [(text, facts)])

    def deliver(self) -> None:
        """In a process of its own, again and again: send what has been written down.

        Raises MemoryError: the rest waits until there is memory.
        """
        if self.spool is None or time.monotonic() < self._again_at:
            return
        left, self._left = self._left, []
        if left:
            self._send_all(left)
        self.spool.empty_into(self._send_all)

    def _send_all(self, lines: list[str]) -> None:
        waiting: dict[Address | None, list[str]] = {}
        for line in lines:
            waiting.setdefault(self._living(line.partition("\t")[0]), []).append(line)
        for to, some in waiting.items():
            self._left += some[self._send_lines(to, some) :]
        if self._left:
            self._again_at = time.monotonic() + AGAIN_S
            raise MemoryError(METHOD)

    def _send_lines(self, to: Address | None, lines: list[str]) -> int:
        """How many there was memory for."""
        done = 0
        for batch in batches_of(_report_in(line) for line in lines):
            try:
                self._send_to(to, batch)
            except MemoryError:
                break
            except Exception as error:  # the others must not be lost too
                ksr.log_error(f"{len(batch)} reports of calls for {to} are lost: {error!r}")
            done += len(batch)
        return done

    def _send_to(self, to: Address | None, reports: Sequence[tuple[str, str]]) -> None:
        """One as a sidecar of the release before understands it, too."""
        if to is None:
            return
        text, facts = reports[0] if len(reports) == 1 else (joined(reports), "")
        call_id, now_s = secrets.token_hex(12), int(time.time())
        header = sign(self._key, now_s, call_id, facts, text)
        lines = f"{header.NAME}: {header}\r\nContent-Type: application/json\r\n"
        if facts:
            lines += f"{CallHeader.NAME}: {facts}\r\n"
        ksr.send_request(METHOD, f"sip:{to}", call_id, lines, text)

    def _living(self, call: str) -> Address | None:
        """The sidecar that has left the call to us; or another one that lives; or the first, which may be back."""
        own = self._by_name.get(call[:_NAME_DIGITS])
        all_ = [*([own] if own else []), *self._by_name.values()]
        for address, group in all_:
            if ksr.is_alive(group, f"sip:{address}"):
                return address
        return all_[0][0] if all_ else None


class _Harmless:
    """``with _Harmless(call):`` no call fails for its report."""

    def __init__(self, call: str) -> None:
        self._call = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: object, _traceback: object) -> bool:
        if isinstance(error, Exception):
            ksr.log_error(f"call {_call_id(self._call)}: its records are incomplete: {error!r}")
            return True
        return False


@lru_cache(maxsize=1024)
def name_of(sidecar: Address) -> str:
    """A short name that stays the same when others join or leave the site."""
    return hashlib.blake2s(str(sidecar).encode(), digest_size=_NAME_DIGITS // 2).hexdigest()


def texts_of(report: Report, most: int = MOST_BODY) -> list[str]:
    """In as many pieces as it needs, each of `most` characters at the most. The end is in the last one."""
    text, legs = report.to_text(), report.legs
    if len(text) <= most or len(legs) < 2:
        return [text]
    half = len(legs) // 2
    return [
        *texts_of(Report(report.call_id, legs[:half]), most),
        *texts_of(Report(report.call_id, legs[half:], report.end), most),
    ]


def batches_of(reports: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """As many at once as fit a message, in their order."""
    batch: list[tuple[str, str]] = []
    room = 0
    for text, facts in reports:
        needed = len(text) + len(facts) + _AROUND_FACTS
        if batch and needed > room:
            yield batch
            batch = []
        room = (room if batch else MOST_BODY) - needed
        batch.append((text, facts))
    if batch:
        yield batch


def _report_in(line: str) -> tuple[str, str]:
    """Its text and its facts."""
    _, facts, text = line.split("\t")
    return text, facts


def _call_id(call: str) -> str:
    return call[_NAME_DIGITS:]


def _leg(index: int, plan: BranchPlan, uri: str, times: str, now_ms: int, answered: int) -> LegReport:
    began, rang, ended, code = map(int, times.split())
    is_answered = index == answered
    code = 200 if is_answered else code or (0 if ended else TERMINATED)
    return LegReport(
        name=f"k{index}",
        number=(plan.label.partition(": ")[2] or _spiral_to(plan, uri))[:_SHORT],
        target=nat.without_alias(uri)[:_LONGEST],
        trunk=plan.trunk[:_SHORT],
        began_ms=began,
        rang_ms=rang,
        answered_ms=now_ms if is_answered else 0,
        ended_ms=0 if is_answered else ended or now_ms,
        code=code,
        outcome="answered" if is_answered else _outcome(code, rang, is_over=bool(ended)),
    )


def _spiral_to(plan: BranchPlan, uri: str) -> str:
    """The IVR of ours that a branch leads to."""
    user = uri.removeprefix("sip:").partition("@")[0] if plan.is_spiral else ""
    return "" if user == SPIRALS_ON else unquote(user)


def _outcome(code: int, rang: int, *, is_over: bool) -> str:
    """As TRANSFER_STATUS (A13), or `stopped`."""
    if not is_over or code == TERMINATED:
        return "stopped"
    return transfer_failed(code).status if code else "no_answer" if rang else "failed"


def _now_ms() -> int:
    return int(time.time() * 1000)
