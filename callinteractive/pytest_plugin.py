"""The pytest plug-in: the fixture `caller`, who dials your IVR, and the story of each call of a test that fails.

| in pytest.ini or pyproject.toml | meaning | default |
|---|---|---|
| callinteractive_ivr | ivr.yaml, or a folder of such files | ivr.yaml |
| callinteractive_site | site.yaml: extensions and sounds | none |
| callinteractive_app | the web application: `module:name`, or the URL of a server | the URLs of the IVR are asked |

Files are relative to pytest's root folder. `callinteractive_app` is a fixture too: define your own to make the web
application in a test's code. pytest imports this module in every run, so it imports the core only where it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from callinteractive.testing import Application, Caller

_CALLER = pytest.StashKey["Caller"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("callinteractive_ivr", "the IVR that `caller` dials: a file or a folder", default="ivr.yaml")
    parser.addini("callinteractive_site", "site.yaml, for its extensions and sounds", default="")
    parser.addini("callinteractive_app", "the web application: module:name or a URL", default="")


@pytest.fixture
def callinteractive_app(request: pytest.FixtureRequest) -> Application:
    """The web application that calls ask."""
    where = str(request.config.getini("callinteractive_app"))
    if not where or "//" in where:
        return where or None
    module, colon, name = where.partition(":")
    if not colon:
        _fail(f"callinteractive_app = {where}: write it as module:name or as a URL")
    try:
        application: Application = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise  # of the application itself
        _fail(f"callinteractive_app = {where}: there is no module {module} in {request.config.rootpath}")
    except AttributeError as error:
        if error.name != name:
            raise
        _fail(f"callinteractive_app = {where}: the module {module} has no {name}")
    return application


def _fail(reason: str) -> NoReturn:
    """What the person who runs the tests has written wrong needs no traceback."""
    pytest.fail(reason, pytrace=False)


@pytest.fixture
def caller(request: pytest.FixtureRequest, callinteractive_app: Application) -> Iterator[Caller]:
    """A phone that calls the IVR of `callinteractive_ivr`."""
    from callinteractive.errors import ConfigError  # noqa: PLC0415  see above
    from callinteractive.testing import Caller  # noqa: PLC0415  see above

    config, root = request.config, request.config.rootpath
    site = str(config.getini("callinteractive_site"))
    ivr = root / str(config.getini("callinteractive_ivr"))
    try:
        made = Caller(ivr, callinteractive_app, site=root / site if site else None)
    except ConfigError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}. callinteractive_ivr and callinteractive_site of pytest.ini name it")
    with made as caller:
        request.node.stash[_CALLER] = caller
        yield caller


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Add the calls of a test that fails to its report, unless the failure tells them itself."""
    report: pytest.TestReport = yield
    if report.when == "call" and report.failed:
        caller = item.stash.get(_CALLER, None)
        told = str(call.excinfo.value) if call.excinfo else ""
        for number, dialled in enumerate(caller.calls if caller else (), 1):
            if dialled.story not in told:
                report.sections.append((f"call {number}", dialled.story))
    return report
