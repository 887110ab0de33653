"""The part of site.yaml that says where calls are written down."""

from __future__ import annotations

from dataclasses import replace

from callinteractive.document import Value
from callinteractive.state import State, parse
from callinteractive.trunk_file import read_secret


def read_state(value: Value) -> State:
    """``embedded``, ``none``, a URL, or ``{url: URL, password: …, sentinel_password: …, ca: FILE}``."""
    if not value.is_mapping:
        return _read_url(value)
    section = value.section("url", "password", "sentinel_password", "ca")
    state = _read_url(section["url"])
    password, of_sentinels = read_secret(section["password"]), read_secret(section["sentinel_password"])
    ca = section["ca"].optional_text()
    if section["url"].is_missing:
        section["url"].wrong("is missing")
    elif state.kind != "valkey":
        section["url"].wrong("is for a server; otherwise write state: embedded, or state: none")
    elif password and state.password:
        section["password"].wrong("is in the url too: write it once")
    if of_sentinels and state.form != "sentinel":
        section["sentinel_password"].wrong("needs a url of valkey+sentinel://")
    if ca and not state.is_tls:
        section["ca"].wrong("needs a url with TLS, valkeys://")
    return replace(state, password=password or state.password, sentinel_password=of_sentinels, ca=ca)


def _read_url(value: Value) -> State:
    try:
        return parse(value.text("embedded"))
    except ValueError as error:
        value.wrong(str(error))
        return State()
