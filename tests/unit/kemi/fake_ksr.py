"""As much of Kamailio's KSR module as routing calls: answers what a test sets, records what is called.

Every call is checked against `typings/KSR.pyi`, Kamailio's own list: the function must exist and take these arguments.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

STUB = Path(__file__).resolve().parents[3] / "typings" / "KSR.pyi"
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "bool": (bool, int), "None": (type(None), int), "str | None": (str, type(None)),
}  # fmt: skip
"""Of arguments and results. A bool is an int; what returns None returns whatever a test does not set."""
READING = ("get_", "hdr.get", "has_totag", "is_ACK", "xavp_get", "t_get_status_code", "t_is_canceled")
"""Parts of the names of functions whose calls are not recorded."""


class FakeKsr:
    """A message and its transaction. Set `results["module.function"]` to what a call returns; default 1. No drain.

    A result may be an exception to raise, or a function of the arguments. `calls` holds (name, arguments) of every call
    that does not only read. `memory` is the transaction's, `tags` are those of From and To, and the protocol.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.results: dict[str, Any] = {"htable.sht_get": lambda table, _key: None if table == "state" else 1}
        self.headers: dict[str, str] = {}
        self.memory: dict[str, str | int] = {}
        self.tags = {"$ft": "1", "$tt": "", "$pr": "udp"}
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
                "is_myself": lambda uri: uri == "sip:127.0.0.1",
                "kx.get_duri": None,
                "kx.get_protoid": 1,
                "siputils.has_totag": -1,
                "is_ACK": method == "ACK",
                "is_WSX": False,
                "tm.t_check_trans": -1,
                "tm.t_is_canceled": -1,
                "tm.t_branch_timeout": -1,
            }
        )
        self.headers["From"] = "<sip:7@h>;tag=1"

    def __getattr__(self, name: str) -> Any:
        modules, functions = signatures()
        if name in modules:
            return _Module(self, name)
        if name in functions:
            return lambda *arguments: self._call(name, *arguments)
        raise AttributeError(f"KSR has no {name}")

    def _call(self, name: str, *arguments: Any) -> Any:
        parameters, returns = signatures()[1][name]
        assert len(arguments) == len(parameters), f"KSR.{name} takes {len(parameters)} arguments, not {arguments}"
        for argument, parameter in zip(arguments, parameters, strict=True):
            assert isinstance(argument, TYPES[parameter]), f"KSR.{name} does not take {argument!r}"
        result = self._result(name, arguments)
        if returns == "bool":
            return bool(result)
        if returns in TYPES:
            assert isinstance(result, TYPES[returns]), f"KSR.{name} never returns {result!r}"
        return result

    def _result(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "hdr.get":
            return self.headers.get(arguments[0])
        if name == "pv.get" and arguments[0] in self.tags:
            return self.tags[arguments[0]]
        if name in ("pvx.xavp_sets", "pvx.xavp_seti"):
            if name in self.results:
                return self.results[name]
            self.memory[arguments[0]] = arguments[1]
            return 1
        if name == "pvx.xavp_get":
            return self.memory.get(arguments[0])
        if not any(part in name for part in READING):
            self.calls.append((name, arguments))
        result = self.results.get(name, None if signatures()[1][name][1] == "str | None" else 1)
        if isinstance(result, Exception):
            raise result
        if callable(result):
            return result(*arguments)
        return result

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of each call of that name."""
        assert name in signatures()[1], f"KSR has no {name}"
        return [arguments for called, arguments in self.calls if called == name]

    @property
    def replies(self) -> list[int]:
        return [arguments[0] for arguments in self.called("sl.send_reply")]


class _Module:
    def __init__(self, ksr: FakeKsr, name: str) -> None:
        self._ksr, self._name = ksr, name

    def __getattr__(self, function: str) -> Any:
        name = f"{self._name}.{function}"
        if name not in signatures()[1]:
            raise AttributeError(f"KSR has no {name}")
        return lambda *arguments: self._ksr._call(name, *arguments)


@cache
def signatures() -> tuple[frozenset[str], dict[str, tuple[tuple[str, ...], str]]]:
    """The modules, and of each function the types of its parameters and of its result."""
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = {node.name: _signature(node) for node in tree.body if isinstance(node, ast.FunctionDef)}
    modules = set()
    for node in tree.body:
        if isinstance(node, ast.AnnAssign):
            module, kind = ast.unparse(node.target), ast.unparse(node.annotation)
            modules.add(module)
            for method in classes[kind].body:
                if isinstance(method, ast.FunctionDef):
                    functions[f"{module}.{method.name}"] = _signature(method)
    return frozenset(modules), functions


def _signature(function: ast.FunctionDef) -> tuple[tuple[str, ...], str]:
    parameters = tuple(
        ast.unparse(argument.annotation) for argument in function.args.posonlyargs if argument.annotation
    )
    return parameters, ast.unparse(function.returns) if function.returns else "None"
