"""The pytest plug-in, in runs of pytest of its own."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import httpcore  # noqa: F401  # what a run of pytester imports first it forgets at its end
import pytest

import callinteractive.testing  # noqa: F401  # the same
from cli import new

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "flask"


@pytest.fixture(autouse=True)
def _no_other_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds to load."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, **files: str) -> pytest.RunResult:
    for path in EXAMPLE.iterdir():
        if path.is_file():
            (pytester.path / path.name).write_text(path.read_text())
    for name, text in files.items():
        (pytester.path / name.replace("__", ".")).write_text(text)
    return pytester.runpytest_inprocess("-p", "callinteractive.pytest_plugin")


def test_the_tests_of_the_example_pass(pytester: pytest.Pytester) -> None:
    run(pytester).assert_outcomes(passed=7)


def test_the_same_application_in_fastapi_passes_the_same_tests(pytester: pytest.Pytester) -> None:
    run(pytester, app__py=(ROOT / "examples/fastapi/app.py").read_text()).assert_outcomes(passed=7)


def test_the_example_s_tests_can_fail(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)  # there pytest tells a failure whole, twice
    broken = (EXAMPLE / "app.py").read_text().replace("order-in-the-oven.wav", "order-unknown.wav")
    result = run(pytester, app__py=broken)
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(["*expected to hear order-in-the-oven.wav; the caller hears order-unknown.wav*"])
    assert result.stdout.str().count("asks      POST") == 1, "the story is told once"


def test_a_test_that_fails_tells_the_calls(pytester: pytest.Pytester) -> None:
    fails = "def test_it(caller):\n    call = caller.dial()\n    assert call.heard == []\n"
    result = run(pytester, test_orders__py=fails)
    result.stdout.fnmatch_lines(["*call 1*", "    0.0 s  menu      1: start"])


def test_a_test_without_a_caller_fails_as_ever(pytester: pytest.Pytester) -> None:
    result = run(pytester, test_orders__py="def test_it():\n    assert False\n")
    result.assert_outcomes(failed=1)


APP = """
import pytest
@pytest.fixture
def callinteractive_app():
    return lambda _: "<Response><PlaySound>mine.wav</PlaySound></Response>"
"""
ORDERS = """
def test_it(caller):
    call = caller.dial()
    call.press("1")
    call.press("1#")
    call.hears("mine.wav")
"""


def test_a_fixture_can_be_the_application(pytester: pytest.Pytester) -> None:
    run(pytester, conftest__py=APP, test_orders__py=ORDERS).assert_outcomes(passed=1)


SITE = "node: 1\nsip: {listen: ['udp:127.0.0.1:5060']}\nsounds: .\n"


@pytest.mark.parametrize(
    ("ini", "shown"),
    [
        ("callinteractive_app = app", "*callinteractive_app = app: write it as module:name or as a URL*"),
        ("callinteractive_app = app:none", "callinteractive_app = app:none: the module app has no none"),
        ("callinteractive_app = apps:app", "callinteractive_app = apps:app: there is no module apps in /*"),
        ("callinteractive_app = http://127.0.0.1:1", "*PROBLEM*"),
        ("", "*PROBLEM*"),
        ("callinteractive_ivr = absent.yaml", "/*/absent.yaml: No such file or directory. callinteractive_ivr and *"),
        (
            "callinteractive_ivr = site.yaml",
            "/*/site.yaml:1: this is a site, where a file of IVRs is wanted: are the two swapped?",
        ),
        ("callinteractive_site = site.yaml", "*there is no sound welcome.wav*"),
    ],
)
def test_the_settings(pytester: pytest.Pytester, ini: str, shown: str) -> None:
    result = run(pytester, pytest__ini=f"[pytest]\n{ini}\n", site__yaml=SITE, test_orders__py=ORDERS)
    assert result.ret == 1
    result.stdout.fnmatch_lines([shown])
    assert "pytest_plugin.py" not in result.stdout.str(), "no traceback of ours"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("import absent_too\n", "mine.py:1: ModuleNotFoundError"),
        ("import json\njson.absent\n", "mine.py:2: AttributeError"),
    ],
)
def test_a_mistake_within_the_application_is_shown_where_it_is(
    pytester: pytest.Pytester, text: str, shown: str
) -> None:
    ini = "[pytest]\ncallinteractive_app = mine:app\n"
    result = run(pytester, pytest__ini=ini, mine__py=text, test_orders__py=ORDERS)
    assert result.ret == 1
    result.stdout.fnmatch_lines([shown])


@pytest.mark.parametrize(("document", "tests"), [("testing.md", 1), ("how-to/fallback.md", 2)])
def test_the_tests_of_a_document_pass(pytester: pytest.Pytester, document: str, tests: int) -> None:
    """With its ivr.yaml, where it has one; else that of the example."""
    text = (ROOT / "docs" / document).read_text()
    files = {"test_orders__py": "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL))}
    if ivr := re.search(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        files["ivr__yaml"] = ivr[1]
    run(pytester, **files).assert_outcomes(passed=tests)


def test_the_tutorial_s_tests_fail_first_and_pass_in_the_end(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files, in their order, and `pytest` where it says so."""
    shop = pytester.path / "shop"
    new.make(shop, "flask", "127.0.0.1")
    monkeypatch.chdir(shop)
    results = []
    for block in re.findall(r"^```(.*?)^```", (ROOT / "docs/tutorial.md").read_text(), re.MULTILINE | re.DOTALL):
        head, _, text = block.partition("\n")
        if written := re.fullmatch(r'\w+ title="~/shop/(.*)"', head):
            (shop / written[1]).write_text(text)
        elif text.startswith("espeak-ng -w "):
            (shop / text.split()[2]).write_bytes((shop / "sounds/goodbye.wav").read_bytes())
        elif text.startswith("pytest"):
            results.append(pytester.runpytest_inprocess("-p", "callinteractive.pytest_plugin").parseoutcomes())
    assert results == [{"failed": 2}, {"passed": 2}]


def test_pytest_finds_the_plug_in_by_its_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module = importlib.import_module(project["entry-points"]["pytest11"]["callinteractive"])
    assert module.caller.__doc__
