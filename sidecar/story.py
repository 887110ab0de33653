"""What happened to this sidecar's calls: each has a `Story`, a list of records (`callinteractive.record`).

Those who carry a call out tell its story as it happens. Whoever subscribes gets each record at once, in order; the last
calls stay in memory, for the API and the page. Telling never waits and never fails.

Most calls' records are read by nobody. So what was told is kept as it came, and becomes a record when somebody asks.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import structlog

from callinteractive.facts import CallFacts
from callinteractive.record import HEIR_STEP, UNKNOWN_FROM, Name, Record, Summary, stamp
from callinteractive.transfer_status import FollowedTransfer, Outcome
from sidecar.jsontext import encode
from sidecar.told import Bodies, Told, legs_in, masked

LOG = structlog.get_logger()
MOST_RECENT = 200
"""Calls that `recent` lists, and how many stay after their end."""
MOST_RECORDS = 500
"""Of one call: the last ones."""
MANY_CALLS, FEW_RECORDS = 1_000, 50
"""While so many calls are known, a call keeps so few records."""
MOST_BODIES = 500
"""Records in memory with the texts of a request and its answer, together at most 16 KiB each."""
MOST_LEFT = 20_000
"""Calls that Kamailio carries out and that may still be heard of. All but the last of them have no records here."""

State = Literal["live", "left", "ended"]
"""`left`: Kamailio carries the call out, and tells what becomes of it."""
Subscriber = Callable[[Record], None]
Watcher = Callable[[Name, Mapping[str, Any]], None]
"""Gets the event's name and its own fields; of the summary in `call.ended` what `Story.brief` tells."""


class Story:
    """Of one call. `tell` adds to it."""

    __slots__ = (
        "_answered",
        "_facts",
        "_has_legs",
        "_ids",
        "_new",
        "_stories",
        "_summary",
        "call_api_id",
        "call_id",
        "cause",
        "hidden",
        "seq",
        "state",
        "told",
        "transfer",
    )

    def __init__(self, stories: Stories, call_id: str, call_api_id: str, facts: CallFacts | None = None) -> None:
        """facts: None where they are not known yet."""
        self._stories = stories
        self._ids = call_id, call_api_id
        self._facts = facts
        self.call_id = call_id
        self.call_api_id = call_api_id
        self.seq = 0
        self.hidden: tuple[str, ...] = ()
        """Digits that are masked in what is told of the transfer's legs (E3)."""
        self.state: State = "live"
        self._summary: Summary | str | None = None
        """None: nobody has asked for it yet."""
        self._new = 0
        """How many of the last events it does not tell yet."""
        self._answered: float | None = None
        """When that was told. Not of a call that was taken over: then there is a summary."""
        self._has_legs = False
        self.cause = ""
        """Why the call ends, as far as that is known: a sentence."""
        self.told: list[Told] = []
        """As much of it as is kept."""
        self.transfer: FollowedTransfer | None = None
        """Whose `status_url` is still to be told something."""

    @property
    def summary(self) -> Summary:
        summary = self._summary
        if not isinstance(summary, Summary):
            summary = Summary() if summary is None else Summary.from_dict(json.loads(summary))
            self._summary = summary
            if self._facts is not None:
                summary.who = {"ivr": self._facts.called_extension, **self._facts.shown()}
                self._facts = None
        if self._new:
            for told in self.told[-self._new :]:
                summary.take(told.event, told.at, told.fields)
            self._new = 0
        return summary

    def brief(self) -> dict[str, Any]:
        """Of the summary `ivr`, `answered_at` and `legs`. Of most calls that end, nobody ever wants the whole."""
        if self._summary is None and self._facts is not None:
            answered_at = None if self._answered is None else stamp(self._answered)
            legs = legs_in(self.told) if self._has_legs else ()
            return {"ivr": self._facts.called_extension, "answered_at": answered_at, "legs": legs}
        fields = self.summary.fields("")
        return {name: fields[name] for name in ("ivr", "answered_at", "legs") if name in fields}

    @property
    def records(self) -> list[Record]:
        """As far as they are kept."""
        return [told.record for told in self.told]

    @property
    def is_packed(self) -> bool:
        return isinstance(self._summary, str) and not self._new

    def pack(self) -> None:
        """Be small, without the records: there may be thousands of calls, and garbage collection looks at all."""
        self._summary = encode(self.summary.to_dict())
        self.told = []

    def tell(self, event: Name, /, *, at: float | None = None, **fields: Any) -> None:
        """Something has happened. at: when, in seconds since the epoch; None: now. Fields are JSON-ready.

        `call.ended` gets the whole call's summary. Nothing follows it.
        """
        self.tell_fields(event, fields, at)

    def tell_fields(
        self, event: Name, fields: dict[str, Any], at: float | None = None, bodies: Bodies | None = None
    ) -> None:
        """The same for who has the fields in a dict, which is kept: to make keywords of it costs more than the rest.

        bodies: makes the texts of a request and its answer when somebody wants them.
        """
        if self.state == "ended":
            return
        self.seq += 1
        at = time.time() if at is None else at
        if event == "call.ended":
            if not fields.get("cause") and self.cause:
                fields["cause"] = self.cause
            told = Told(self._ids, self.seq, event, at, fields, bodies, self._sum_up)
        else:
            shown = fields
            if event == "call.answered":
                self._answered = at
            elif event.startswith("leg."):
                self._has_legs = True
                shown = masked(fields, self.hidden) if self.hidden else fields
            told = Told(self._ids, self.seq, event, at, shown, bodies)
        self.told.append(told)
        self._new += 1
        if event == "call.ended" and (self.transfer is not None or self._stories.is_read):
            _ = told.bare  # now: it is dropped with others that ended
        self._stories.add(self, told)
        if self.transfer is not None:
            self._tell_transfer(self.transfer.take({**told.bare, **fields} if self.hidden else told.bare, at))

    def _sum_up(self, ended_at: str) -> dict[str, Any]:
        return self.summary.fields(ended_at)

    def forget_oldest(self) -> None:
        """Keep one event less. The summary still tells it."""
        _ = self.summary
        del self.told[0]

    def begin_transfer(self, status_url: str | None, numbers: Sequence[str], hidden: tuple[str, ...] = ()) -> None:
        """Numbers are called now. `status_url` is told what becomes of it; None: nobody is."""
        self.hidden = hidden
        if status_url is not None:
            self.transfer = FollowedTransfer(status_url, ",".join(numbers))

    def fail_transfer(self, code: int) -> None:
        """Nobody has answered a transfer that Kamailio has carried out."""
        if self.transfer is not None:
            self._tell_transfer(self.transfer.fail(code))

    def _tell_transfer(self, outcome: Outcome | None) -> None:
        if self.transfer is not None and self.transfer.is_over:
            self.transfer = None
        if outcome is not None:
            self._stories.tell_transfer(self, outcome)

    def leave(self) -> None:
        """Kamailio carries the call out from now on."""
        self._stories.leave(self)

    def to_dict(self) -> dict[str, Any]:
        """As data for JSON, for whoever takes the call over: what was told so far, without the records."""
        data = {"seq": self.seq, "cause": self.cause, "summary": self.summary.to_dict()}
        data |= {"hidden": list(self.hidden)} if self.hidden else {}
        return data if self.transfer is None else data | {"transfer": self.transfer.to_dict()}

    def to_json(self, *, whole: bool = True) -> str:
        """`to_dict` as text. `whole`: with the lists of the summary; else they are only counted."""
        data = self.to_dict()
        if not whole:
            data["summary"] = self.summary.to_short_dict()
        return encode(data)

    def resume(self, data: Mapping[str, Any]) -> None:
        """Go on where another sidecar was (`to_dict`). Never fails: what can't be read is left out."""
        seq, summary, cause, who = data.get("seq"), data.get("summary"), data.get("cause"), self.summary.who
        if isinstance(seq, int) and seq >= self.seq:
            self.seq = (seq // HEIR_STEP + 1) * HEIR_STEP
        if isinstance(summary, dict):
            self._summary = Summary.from_dict(summary)
            self._summary.who = self._summary.who or who
        if isinstance(cause, str):
            self.cause = cause
        if isinstance(hidden := data.get("hidden"), list):
            self.hidden = tuple(map(str, hidden))
        self.transfer = FollowedTransfer.from_dict(data.get("transfer"))

    def overview(self) -> dict[str, Any]:
        """The call in one line of a list."""
        summary = self.summary
        last: dict[str, str] = summary.path[-1] if summary.path else {}
        return {
            "call_id": self.call_id,
            "call_api_id": self.call_api_id,
            "state": self.state,
            **summary.who,
            **last,
            "began_at": summary.began_at,
            "answered_at": summary.answered_at,
            "ended_at": summary.ended_at,
        }


class Stories:
    """Of all calls of this sidecar, by call_id."""

    def __init__(self) -> None:
        self._known: dict[str, Story] = {}
        self._past: deque[Story] = deque()  # ended, or left to Kamailio
        self._left: OrderedDict[str, Story] = OrderedDict()
        self._with_bodies: deque[Told] = deque()
        self._subscribers: list[tuple[Subscriber, bool]] = []
        self._watchers: dict[Name, list[Watcher]] = {}
        self.on_transfer: Callable[[Story, Outcome], None] | None = None
        """Told what becomes of a transfer with a `status_url`; must not wait."""

    def begin(self, facts: CallFacts, so_far: str = "", attempt: int = 0) -> Story:
        """The story of a call that this sidecar carries out from now on.

        so_far: what another sidecar has told of it (`Story.to_json`). If this one had the call last, it knows that.
        attempt: the number of its INVITE, where others may have told something of it that is not known here.
        """
        story, data = self._known.get(facts.call_id), _read(so_far) if so_far else {}
        if story is None:
            story = self._known[facts.call_id] = Story(self, facts.call_id, facts.call_api_id, facts)
            story.seq = attempt * HEIR_STEP
            if data:
                story.resume(data)
        elif isinstance(seq := data.get("seq"), int) and seq > story.seq:
            story.resume(data)  # the call has been at another one since
        self._left.pop(story.call_id, None)
        story.state = "live"
        return story

    def tell_fields(
        self, call_id: str, event: Name, fields: dict[str, Any], at: float | None = None, call_api_id: str = ""
    ) -> None:
        """`Story.tell_fields` for those who have only the id.

        A call that is not known here yet is one that was left: then give `call_api_id` too.
        """
        story = self._known.get(call_id)
        if story is None:
            story = self._known[call_id] = Story(self, call_id, call_api_id)
            story.seq = UNKNOWN_FROM
            self.leave(story)
        was_packed = story.is_packed
        story.tell_fields(event, fields, at)
        if was_packed and story.state == "left":
            self._passed(story)  # or thousands would not be small again

    def subscribe(self, callback: Subscriber, *, with_bodies: bool = True) -> Callable[[], None]:
        """Give each record to `callback` at once, which must not wait. Returns what ends that.

        with_bodies: whether it needs the texts of requests and answers. They may be there if not.
        """
        subscriber = callback, with_bodies
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    def watch(self, events: Iterable[Name], callback: Watcher) -> None:
        """Tell `callback` of these events at once. It must not wait, nor keep the fields. This needs no record."""
        for event in events:
            self._watchers.setdefault(event, []).append(callback)

    def recent(self) -> list[dict[str, Any]]:
        """The last calls that began, those in progress too, newest first (`Story.overview`)."""
        return [story.overview() for story in islice(reversed(self._known.values()), MOST_RECENT)]

    def of(self, call_id: str) -> list[Record]:
        """The records of a call, as far as they are still in memory; empty where it is not known."""
        story = self._known.get(call_id)
        return [] if story is None else story.records

    def knows(self, call_id: str) -> bool:
        return call_id in self._known

    # For stories.

    @property
    def is_read(self) -> bool:
        """Whether somebody gets each record at once."""
        return bool(self._subscribers)

    def add(self, story: Story, told: Told) -> None:
        """`story` was told something: keep it within bounds, and pass it on."""
        event, kept, fields = told.event, len(story.told), told.fields
        if kept > FEW_RECORDS and (kept > MOST_RECORDS or len(self._known) >= MANY_CALLS):
            story.forget_oldest()
        if event == "call.request":
            self._keep_bodies(told)
        elif event == "call.ended":
            fields = {**story.brief(), **fields} if event in self._watchers else fields
            self._end(story)
        for watcher in self._watchers.get(event, ()):
            try:
                watcher(event, fields)
            except Exception:  # a call must not fail for those who watch it
                LOG.exception("a watcher of the events failed")
        for subscriber, with_bodies in self._subscribers:
            try:
                subscriber(told.record if with_bodies else told.bare)
            except Exception:
                LOG.exception("a subscriber of the events failed")

    def tell_transfer(self, story: Story, outcome: Outcome) -> None:
        """What has become of a transfer."""
        if self.on_transfer is not None:
            try:
                self.on_transfer(story, outcome)
            except Exception:  # a call must not fail for those who watch it
                LOG.exception("a transfer's outcome could not be told")

    def leave(self, story: Story) -> None:
        """`Story.leave`."""
        story.state = "left"
        self._left[story.call_id] = story
        if len(self._left) > MOST_LEFT:
            self._drop(self._left.popitem(last=False)[1])
        self._passed(story)

    def forget(self, story: Story) -> None:
        """Another sidecar has the call."""
        self._left.pop(story.call_id, None)
        self._drop(story)

    def _end(self, story: Story) -> None:
        story.state = "ended"
        self._left.pop(story.call_id, None)
        self._passed(story)

    def _passed(self, story: Story) -> None:
        self._past.append(story)
        if len(self._past) <= MOST_RECENT:
            return
        oldest = self._past.popleft()
        if oldest.state == "ended":
            self._drop(oldest)
        elif oldest.state == "left":
            oldest.pack()

    def _drop(self, story: Story) -> None:
        story.told = []
        if self._known.get(story.call_id) is story:
            del self._known[story.call_id]

    def _keep_bodies(self, told: Told) -> None:
        self._with_bodies.append(told)
        if len(self._with_bodies) > MOST_BODIES:
            self._with_bodies.popleft().drop_bodies()


def _read(story: str) -> dict[str, Any]:
    """`Story.to_json`, empty where it cannot be read."""
    try:
        data = json.loads(story or "{}")
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
