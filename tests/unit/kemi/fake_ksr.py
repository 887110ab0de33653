"""As much of Kamailio's KSR module as routing calls: answers what a test sets, records what is called."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class FakeKsr:
    """A message and its transaction. Set `results["module.function"]` to what a call returns; default 1.

    A result may be an exception to raise, or a function of the arguments.

    `calls` holds (name, arguments) of every call that is not a plain reading one.
    """

    READING = ("get_", "hdr.get", "has_totag", "is_ACK", "xavp_get", "t_get_status_code")

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.results: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        self.memory: dict[str, str] = {}
        self.message(method="INVITE", ruser="332")

    def message(self, method: str, ruser: str = "", source: tuple[str, int] = ("127.0.0.2", 5060)) -> None:
        self.results.update(
            {
                "kx.get_method": method,
                "kx.get_ruser": ruser,
                "kx.get_srcip": source[0],
                "kx.get_srcport": source[1],
                "kx.get_fuser": "7",
                "kx.get_callid": "some-call-id",
                "kx.get_ruri": f"sip:{ruser}@127.0.0.1",
                "kx.get_rcvip": "127.0.0.1",
                "siputils.has_totag": -1,
                "is_ACK": method == "ACK",
                "tm.t_check_trans": -1,
                "tm.t_is_canceled": -1,
                "tm.t_branch_timeout": -1,
            }
        )
        self.headers["From"] = "<sip:7@h>;tag=1"

    def __getattr__(self, module: str) -> Any:
        if module in ("is_ACK", "set_drop", "err", "seturi"):
            return lambda *arguments: self._call(module, *arguments)
        return _Module(self, module)

    def _call(self, name: str, *arguments: Any) -> Any:
        if name == "hdr.get":
            return self.headers.get(arguments[0])
        if name == "pvx.xavp_sets":
            self.memory[arguments[0]] = arguments[1]
            return 1
        if name == "pvx.xavp_get":
            return self.memory.get(arguments[0])
        if not any(part in name for part in self.READING):
            self.calls.append((name, arguments))
        result = self.results.get(name, 1)
        if isinstance(result, Exception):
            raise result
        if callable(result):
            return result(*arguments)
        return result

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of each call of that name."""
        return [arguments for called, arguments in self.calls if called == name]

    @property
    def replies(self) -> list[int]:
        return [arguments[0] for arguments in self.called("sl.send_reply")]


class _Module(SimpleNamespace):
    def __init__(self, ksr: FakeKsr, name: str) -> None:
        super().__init__()
        self._ksr, self._name = ksr, name

    def __getattr__(self, function: str) -> Any:
        return lambda *arguments: self._ksr._call(f"{self._name}.{function}", *arguments)
