"""Two releases side by side: what one of them has written down of a call, the other one goes on with.

`records/form-N.json` has what the first release with form N wrote, for each situation. It stays as it is. A change of
the form either leaves a release that knows the form before able to read it, or counts `saved.VERSION` up.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.call import saved
from tests.unit.call.harness import true, until_idle
from tests.unit.call.test_adopted import KEY, SITUATIONS, Process, stable

pytestmark = pytest.mark.usefixtures("tasks")
RECORDS = Path(__file__).parent / "records"
WRITTEN_AT = 1795695686.5
"""When the last of `form-1.json` was written, in seconds since the epoch."""
NEW = (".generation", ".story")
"""What older releases of the same form leave out: they look for neither, and for nothing that is in there."""
Value = Any


def written(form: int) -> dict[str, Any]:
    """The records by situation, as if they were written just now."""
    return dict(later(json.loads((RECORDS / f"form-{form}.json").read_text()), time.time() - WRITTEN_AT))


def later(value: Value, by_s: float) -> Value:
    """With its times moved: they are the only numbers so large that are no integers."""
    if isinstance(value, dict):
        return {name: later(member, by_s) for name, member in value.items()}
    if isinstance(value, list):
        return [later(member, by_s) for member in value]
    return value + by_s if isinstance(value, float) and value > WRITTEN_AT / 2 else value


def shape(value: Value, at: str = "") -> Iterator[str]:
    """Where its values are, and of which types."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from shape(member, f"{at}.{name}")
    elif isinstance(value, list):
        for member in value:
            yield from shape(member, f"{at}[]")
    else:
        yield f"{at}: {type(value).__name__}"


def within(value: Value, known: Value) -> Value:
    """Only what `known` has too."""
    if isinstance(value, dict) and isinstance(known, dict):
        return {name: within(member, known[name]) for name, member in value.items() if name in known}
    return value


@pytest.mark.parametrize("form", saved.READ)
@pytest.mark.parametrize("situation", SITUATIONS)
async def test_a_call_of_an_older_release_goes_on(situation, form):
    before = written(form)[situation.__name__]
    made = await situation()
    made.first.running.forget()
    now = Process(made.engine, made.rules)
    now.adopt(before)
    await true(lambda: KEY in now.kept)
    await until_idle()
    before["story"] = now.record["story"]
    assert stable(within(now.record, before)) == stable(before | {"v": saved.VERSION})
    now.call.forget()


async def test_an_older_release_reads_what_this_one_writes():
    """It would lose calls for a name that it does not know, for one that is missing, or for another type."""
    ours: set[str] = set()
    for situation in SITUATIONS:
        made = await situation()
        ours |= set(shape(made.first.record))
        made.first.running.forget()
    theirs = {line for record in written(saved.VERSION).values() for line in shape(record)}
    changed = {line for line in ours ^ theirs if not line.startswith(NEW)}
    hint = (
        "count saved.VERSION up, read the form before too, and add records/form-N.json; or leave it out where it can be"
    )
    assert not changed, hint


def test_one_version_back_is_read_and_has_its_records():
    assert list(saved.READ) == list(range(max(saved.VERSION - 1, 1), saved.VERSION + 1))
    assert all((RECORDS / f"form-{form}.json").exists() for form in saved.READ)
