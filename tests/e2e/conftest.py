"""Fixtures for tests with real daemons. Each worker has one stack and one web application, on its own net."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.ivr import IVR
from tests.e2e.transfers import CalledPhones
from tests.integration.kemi_support import Endpoint
from tests.support.leftovers import assert_idle
from tests.support.phone import Phone
from tests.support.stack import Net, RunningStack
from tests.support.webapp import FakeWebApp
from tests.support.workers import WORKER

NET = os.environ.get("CALLINTERACTIVE_TEST_NET", "127.13")
"""The loopback /16 of this run. Choose another one to run the tests twice at the same time."""
BASE_PORT = 23000
EXTENSION = "306"

LOG = pytest.StashKey[tuple[RunningStack, int]]()

FAILED = pytest.StashKey[bool]()

MOST_LINES = 200

PlaceCall = Callable[..., Phone]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One event loop for the session: the stack and the web application live in it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the stack's log to the report of a failed test."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    if report.failed and LOG in item.stash:
        stack, since = item.stash[LOG]
        report.sections.append(("The stack's log", "\n".join(stack.log[since:][-MOST_LINES:])))
    return report


def _ivr_yaml(web: FakeWebApp) -> str:
    return IVR.format(web=web.url, closed=web.closed_url)


@pytest.fixture(autouse=True)
def _calls_end_with_their_test() -> Iterator[None]:
    yield
    Endpoint.forget_calls()


def own_net(number: int = 0) -> Net:
    """For a stack beside the worker's. number: from 0 to 9, of those that run at once; 1 is `private_stack`'s."""
    return Net(f"{NET}.{10 + 10 * WORKER + number}", BASE_PORT)


@pytest.fixture(scope="session")
def net() -> Net:
    return Net(f"{NET}.{WORKER}", BASE_PORT)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def web(net: Net) -> AsyncIterator[FakeWebApp]:
    async with FakeWebApp(net.web, net.web_port) as app:
        yield app


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_stack(
    net: Net, web: FakeWebApp, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RunningStack]:
    async with RunningStack(net, tmp_path_factory.mktemp("stack"), _ivr_yaml(web)) as stack:
        yield stack


async def _renew(stack: RunningStack) -> None:
    """What a failed test has left would fail the tests after it."""
    await stack.stop()
    await stack.start()


@pytest_asyncio.fixture(loop_scope="session")
async def stack(shared_stack: RunningStack, request: pytest.FixtureRequest) -> AsyncIterator[RunningStack]:
    """The worker's stack. After each test, nothing of its calls may be left."""
    request.node.stash[LOG] = (shared_stack, len(shared_stack.log))
    yield shared_stack
    try:
        if FAILED not in request.node.stash:
            await assert_idle(shared_stack)
            return
    except AssertionError:
        await _renew(shared_stack)
        raise
    await _renew(shared_stack)


@asynccontextmanager
async def lent(stack: RunningStack, request: pytest.FixtureRequest) -> AsyncIterator[RunningStack]:
    """A module's own stack, for one test. After it nothing of its calls may be left; if it fails, its log is shown."""
    request.node.stash[LOG] = (stack, len(stack.log))
    yield stack
    await assert_idle(stack)


@pytest_asyncio.fixture(loop_scope="session")
async def private_stack(web: FakeWebApp, tmp_path: Path) -> AsyncIterator[RunningStack]:
    """A stack for one test, which starts, breaks and stops it. Its IVRs ask the worker's web application."""
    stack = RunningStack(own_net(1), tmp_path / "stack", _ivr_yaml(web))
    yield stack
    await stack.stop()


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
def caller(_numbers: Iterator[int]) -> str:
    """An external number that only this test calls from: it selects the web application's answers."""
    return f"+1555{next(_numbers):07d}"


@pytest.fixture
def call(stack: RunningStack, caller: str) -> PlaceCall:
    """``call(number, **options)``: a Phone that calls the IVR through the carrier, as `caller`.

    With ``is_internal=True`` it is our extension 000*306. For the other options see Phone.
    """

    def place(number: str, *, is_internal: bool = False, **options: object) -> Phone:
        where, who = (stack.net.phone, EXTENSION) if is_internal else (stack.net.carrier, caller)
        return Phone(stack.net.sip, number, **({"host": where, "caller": who} | options))  # type: ignore[arg-type]

    return place


@pytest_asyncio.fixture(loop_scope="session")
async def callees(stack: RunningStack) -> CalledPhones:
    """The phones that a call can be transferred to."""
    return CalledPhones(stack)
