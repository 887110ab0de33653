"""The callbacks that Kamailio calls (KEMI). Every one is guarded: an exception becomes 500, never silence."""

from __future__ import annotations

import functools
import os
import secrets
import site as python_site
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Kamailio puts this file's folder first on the path, where our modules would hide the standard library's.
if sys.path[0] == str(ROOT / "kemi"):
    sys.path[0] = str(ROOT)
if "CALLINTERACTIVE_PACKAGES" in os.environ:
    python_site.addsitedir(os.environ["CALLINTERACTIVE_PACKAGES"])

from callinteractive.config import load_ivr_file, load_site, without_pool  # noqa: E402
from callinteractive.errors import ConfigError, Finding, HeaderError  # noqa: E402
from callinteractive.model import IvrFile, Site  # noqa: E402
from callinteractive.numbers import Directory  # noqa: E402
from kemi import anchor, fork, identity, ksr, sidecars  # noqa: E402
from kemi.facts import UnreadableError  # noqa: E402
from kemi.ingress import Ingress  # noqa: E402

EXIT_CONFIG = 78  # sysexits.h EX_CONFIG
"""The process's exit status where the configuration is unusable."""


Method = Callable[["Callbacks"], None]
Callback = Callable[["Callbacks", object], int]


def guarded(otherwise: Callable[[Exception], None]) -> Callable[[Method], Callback]:
    """Make a KEMI callback of a method: after an exception, `otherwise` sees to the message."""

    def decorate(method: Method) -> Callback:
        @functools.wraps(method)
        def guard(self: Callbacks, _message: object) -> int:
            try:
                method(self)
            except Exception as error:
                _attempt(otherwise, error)
            return 1

        return guard

    return decorate


def answer(error: Exception) -> None:
    """The sender's fault is told to the sender, ours is logged; both are answered."""
    if isinstance(error, (UnreadableError, HeaderError)):
        ksr.reply(400, str(error))
    elif isinstance(error, UnicodeDecodeError):
        ksr.reply(400, "Not UTF-8")
    else:
        refuse(error)


def refuse(error: Exception) -> None:
    log(error)
    ksr.reply(500, "Server Internal Error")


def drop_branch(error: Exception) -> None:
    log(error)
    ksr.drop()


def withhold(error: Exception) -> None:
    """Of a reply, what it may tell of media that is anchored."""
    log(error)
    ksr.remove_body()


def log(error: Exception) -> None:
    ksr.log_error("".join(traceback.format_exception(error)))


def _attempt(otherwise: Callable[[Exception], None], error: Exception) -> None:
    try:
        otherwise(error)
    except Exception as second:
        log(second)


class Callbacks:
    """One method a callback: Kamailio's own by their fixed names, those of `ksr.Route` by theirs."""

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress

    def child_init(self, _rank: int) -> int:
        return 0

    @guarded(answer)
    def ksr_request_route(self) -> None:
        self._ingress.route()

    @guarded(log)
    def ksr_reply_route(self) -> None:
        ksr.remove_private_headers()
        self._ingress.on_reply()

    @guarded(drop_branch)
    def to_sidecar(self) -> None:
        sidecars.on_branch()
        self._ingress.record_route.on_branch()

    @guarded(log)
    def sidecar_replied(self) -> None:
        self._ingress.redirects.on_reply()

    @guarded(refuse)
    def sidecar_failed(self) -> None:
        self._ingress.redirects.on_sidecar_failure()

    @guarded(log)
    def in_dialog_replied(self) -> None:
        identity.on_in_dialog_reply()

    @guarded(drop_branch)
    def to_target(self) -> None:
        media = fork.on_branch()
        if media is not None:
            self._ingress.record_route.on_branch(media)

    @guarded(log)
    def target_replied(self) -> None:
        fork.on_reply()

    @guarded(log)
    def target_failed(self) -> None:
        fork.on_branch_failure()

    @guarded(refuse)
    def transfer_failed(self) -> None:
        self._ingress.redirects.on_transfer_failure()

    @guarded(withhold)
    def anchored_in_dialog_replied(self) -> None:
        anchor.on_in_dialog_reply()
        identity.on_in_dialog_reply()

    @guarded(withhold)
    def anchored_replied(self) -> None:
        fork.on_anchored_reply()

    @guarded(log)
    def anchored_failed(self) -> None:
        fork.on_anchored_branch_failure()

    @guarded(refuse)
    def anchored_transfer_failed(self) -> None:
        fork.on_anchored_failure()
        self._ingress.redirects.on_transfer_failure()


def mod_init() -> Callbacks:
    """Called once, before Kamailio forks. Ends the process with clear findings where a file is unusable."""
    try:
        site = load_site(*_read("CALLINTERACTIVE_SITE"))
        ivr_file = load_ivr_file(*_read("CALLINTERACTIVE_IVR"))
        _check_pools(site, ivr_file)
    except (ConfigError, OSError, KeyError, UnicodeDecodeError) as error:
        print(f"callinteractive: cannot start: {error}", file=sys.stderr, flush=True)
        os._exit(EXIT_CONFIG)
    missing = [route for route in ksr.Route if not hasattr(Callbacks, route)]
    assert not missing, f"no callback for {missing}"
    return Callbacks(Ingress(site, Directory(site, ivr_file), ivr_file.contexts, _route_key()))


def _check_pools(site: Site, ivr_file: IvrFile) -> None:
    """Raises ConfigError."""
    path, wrong = os.environ["CALLINTERACTIVE_IVR"], without_pool(site, ivr_file)
    findings = [Finding(path, 0, f"contexts.{context}.pool", reason) for context, reason in wrong.items()]
    if findings:
        raise ConfigError(findings)


def _read(variable: str) -> tuple[str, str]:
    path = os.environ[variable]
    return Path(path).read_text(encoding="utf-8"), path


def _route_key() -> bytes:
    """From the environment, so that calls outlive a restart of Kamailio; without one, new at every start."""
    return bytes.fromhex(os.environ.get("CALLINTERACTIVE_ROUTE_KEY", "")) or secrets.token_bytes(16)
