"""The key `web` of ivr.yaml: of one IVR, and above `ivrs` what counts for all of the file (W1, W2, R7, R8)."""

from __future__ import annotations

import re
from ipaddress import ip_address

from callinteractive.document import Value
from callinteractive.request import check_url
from callinteractive.secret import Secret
from callinteractive.sounds import NO_NAME, is_sound_name
from callinteractive.trunk_file import read_secret
from callinteractive.urls import host_of
from callinteractive.web import Web
from callinteractive.webhook_signature import key_of

KEYS = (
    *("secrets", "headers", "retries", "fallback_url", "deadline_s", "wait_sound"),
    *("allow_hosts", "private_addresses", "breaker"),
)
_MOST_SECRETS, _MOST_HEADERS, _MOST_RETRIES = 8, 32, 5
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
"""RFC 9110 5.6.2."""
_OURS = {
    *("host", "connection", "content-length", "content-type", "transfer-encoding", "te", "trailer", "upgrade"),
    *("expect", "keep-alive", "proxy-connection", "accept-encoding", "cookie"),
    *("webhook-id", "webhook-timestamp", "webhook-signature"),
}
"""Headers that the client itself writes, or that say how it reads the answer."""
_HOST = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?", re.ASCII)


def read_web(value: Value, default: Web, request_timeout_s: float = 0.0) -> Web:
    """What is not written is as in `default`. `request_timeout_s`: how long one request may take."""
    section = value.section(*KEYS)

    def given(key: str) -> bool:
        return not section[key].is_missing

    deadline = section["deadline_s"]
    web = Web(
        secrets=read_signing_secrets(section["secrets"]) if given("secrets") else default.secrets,
        headers=_headers(section["headers"]) if given("headers") else default.headers,
        retries=section["retries"].integer(default.retries, 0, _MOST_RETRIES),
        fallback_url=section["fallback_url"].checked(check_url) if given("fallback_url") else default.fallback_url,
        deadline_s=deadline.number(float, 20.0, 0.05, 600) if given("deadline_s") else default.deadline_s,
        wait_sound=section["wait_sound"].checked(_sound) if given("wait_sound") else default.wait_sound,
        allow_hosts=_hosts(section["allow_hosts"]) if given("allow_hosts") else default.allow_hosts,
        allows_private=section["private_addresses"].boolean(default.allows_private),
        breaks=section["breaker"].boolean(default.breaks),
    )
    fallback = web.fallback_url if given("fallback_url") or given("allow_hosts") else None
    if fallback and check_url(fallback) is None and not web.allows(host_of(fallback)):
        section["fallback_url"].wrong("its host is not in allow_hosts")
    if web.fallback_url and web.deadline_s is not None and web.deadline_s <= request_timeout_s:
        longest = f"a request may take {request_timeout_s:g} s (request_timeout_s)"
        deadline.wrong(f"{longest}, so no time is left for fallback_url; make it longer")
    return web


def read_signing_secrets(value: Value) -> tuple[Secret, ...]:
    """One or a list (W1). What is written there can be checked now; files and variables only where they are read."""
    places = list(value.items()) if value.is_list else [value]
    if len(places) > _MOST_SECRETS:
        value.wrong(f"more than {_MOST_SECRETS} secrets")
    secrets = []
    for place in places:
        secret = read_secret(place)
        if secret is None:
            if place.is_missing:
                place.wrong("is empty")
            continue
        if secret.text:
            try:
                key_of(secret.text)
            except ValueError as error:
                place.wrong(str(error))
        secrets.append(secret)
    return tuple(secrets)


def _headers(value: Value) -> tuple[tuple[str, Secret], ...]:
    entries = value.entries()
    if len(entries) > _MOST_HEADERS:
        value.wrong(f"more than {_MOST_HEADERS} headers")
    headers: dict[str, tuple[str, Secret]] = {}
    for name, place in entries.items():
        if not _TOKEN.fullmatch(name):
            place.wrong("a header's name is letters, digits and -")
        elif name.lower() in _OURS:
            place.wrong(f"{name} is written by this software itself")
        elif name.lower() in headers:
            place.wrong("is given twice: names of headers are the same in capitals")
        elif (secret := read_secret(place)) is None:
            if place.is_missing:
                place.wrong("is empty; write its value, or {file: NAME}, or {env: NAME}")
        else:
            if secret.text is not None and (problem := header_problem(secret.text)):
                place.wrong(problem)
            headers[name.lower()] = name, secret
    return tuple(headers.values())


def header_problem(text: str) -> str | None:
    """Why a secret can't be the value of a header, or None (RFC 9110 5.5). It is printable already."""
    return None if text.isascii() else "a header's value is printable ASCII"


def _hosts(value: Value) -> tuple[str, ...]:
    hosts = []
    for item in value.items():
        host = item.text().lower().removesuffix(".")
        if not _is_host(host):
            item.wrong("must be a host's name or address, or *.example.com for all hosts below example.com; no port")
        hosts.append(host)
    if not hosts and value.is_list:
        value.wrong("allows no host; leave allow_hosts out to allow all")
    return tuple(hosts)


def _is_host(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return _HOST.fullmatch(text) is not None
    return True


def _sound(name: str) -> str | None:
    return None if is_sound_name(name) else NO_NAME
