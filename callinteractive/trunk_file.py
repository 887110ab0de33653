"""What site.yaml may say of a trunk beside who it is: its passwords, addresses, limits, numbers and codecs."""

from __future__ import annotations

import re
from typing import TypedDict

from callinteractive.document import Value
from callinteractive.loading import MOST
from callinteractive.model import Login, NumberFormat, Registration
from callinteractive.secret import Secret, problem_of
from callinteractive.spelling import read_sip_uri

TRUNK_KEYS = (
    "username",
    "password",
    "realm",
    "register",
    "inbound",
    "max_calls_out",
    "number",
    "inbound_number",
    "options",
    "codecs",
)
CODECS = ("pcma", "pcmu", "g722", "opus", "g729", "gsm", "amr", "amr-wb", "ilbc", "speex", "g726-32")
"""What `codecs` may name: codecs as SDP names them."""
_MOST_GATEWAYS = 16
_USER = re.compile(r"[0-9A-Za-z*._~+-]{1,64}", re.ASCII)
"""A user part that needs no escapes in a URI."""
_NUMBER = re.compile(r"\+?[0-9]{1,20}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_PREFIX = re.compile(r"[+*#0-9]{0,20}", re.ASCII)


class TrunkOptions(TypedDict):
    """Fields of `model.Trunk`."""

    login: Login | None
    inbound: Login | None
    registration: Registration | None
    max_calls_out: int | None
    number: NumberFormat
    inbound_number: NumberFormat
    is_probed: bool
    codecs: tuple[str, ...]


def read_trunk_options(section: dict[str, Value]) -> TrunkOptions:
    login = _login(section["username"], section["password"], section["realm"])
    return TrunkOptions(
        login=login,
        inbound=_inbound(section["inbound"], login),
        registration=_registration(section["register"], login),
        max_calls_out=section["max_calls_out"].optional_integer(1, MOST),
        number=_number_format(section["number"]),
        inbound_number=_number_format(section["inbound_number"]),
        is_probed=section["options"].boolean(True),
        codecs=tuple(dict.fromkeys(item.choice("pcma", CODECS) for item in section["codecs"].items())),
    )


def read_gateways(value: Value) -> tuple[str, ...]:
    """One SIP URI or a list of them."""
    places = list(value.items()) if value.is_list else [value]
    if len(places) > _MOST_GATEWAYS:
        value.wrong(f"more than {_MOST_GATEWAYS} URIs")
    return tuple(dict.fromkeys(uri for place in places if (uri := read_sip_uri(place)[0])))


def read_secret(value: Value) -> Secret | None:
    """A password: its text, ``{file: NAME}`` relative to this file, or ``{env: NAME}``. None where it is missing."""
    if value.is_missing:
        return None
    if not value.is_mapping:
        text = value.text()
        if problem := problem_of(text):
            value.wrong(problem)
        return Secret(text)
    section = value.section("file", "env")
    file, variable = section["file"].optional_text(), section["env"].optional_text()
    if (file is None) == (variable is None):
        value.wrong("write the password, or {file: NAME}, or {env: NAME}")
        return None
    if variable is not None and not _VARIABLE.fullmatch(variable):
        section["env"].wrong("must be the name of an environment variable")
    return Secret(file=file, variable=variable)


def _login(username: Value, password: Value, realm: Value | None) -> Login | None:
    if username.is_missing and password.is_missing:
        if realm and not realm.is_missing:
            realm.wrong("needs username and password")
        return None
    name, secret = username.checked(_check_username), read_secret(password)
    if secret is None:
        if password.is_missing:
            password.wrong("is missing: username needs a password")
        return None
    return Login(name, secret, realm.optional_text() if realm else None)


def _inbound(value: Value, login: Login | None) -> Login | None:
    """``yes`` for the trunk's own user name and password, or others."""
    if not value.is_mapping:
        if not value.boolean(False):
            return None
        if login is None:
            value.wrong("needs username and password, the trunk's or its own: inbound: {username: …, password: …}")
        return login and Login(login.username, login.password)
    section = value.section("username", "password")
    return _login(section["username"], section["password"], None)


def _registration(value: Value, login: Login | None) -> Registration | None:
    """``yes``, or how."""
    section = value.section("expires", "contact_user", "number") if value.is_mapping else {}
    if not section and not value.boolean(False):
        return None
    if login is None:
        value.wrong("needs username and password")
        return None
    if not section:
        return Registration(_contact_user(login.username))
    number = section["number"].optional_text()
    if number is not None and not _NUMBER.fullmatch(number):
        section["number"].wrong('must be a number like "+78123210001"')
    return Registration(
        contact_user=section["contact_user"].checked(_check_user, _contact_user(login.username)),
        expires_s=section["expires"].integer(600, 60, 86_400),
        number=number,
    )


def _contact_user(username: str) -> str:
    """The user name without its host, if it can be the user part of a URI."""
    user = username.partition("@")[0]
    return user if _USER.fullmatch(user) else "trunk"


def _number_format(value: Value) -> NumberFormat:
    section = value.section("strip", "prefix")
    return NumberFormat(section["strip"].integer(0, 0, 20), section["prefix"].checked(_check_prefix, ""))


def _check_user(text: str) -> str | None:
    return None if _USER.fullmatch(text) else "must be at most 64 letters, digits and . _ ~ * + -"


def _check_username(text: str) -> str | None:
    return None if 0 < len(text) <= 128 and text.isprintable() else "must be one line of at most 128 characters"


def _check_prefix(text: str) -> str | None:
    return None if _PREFIX.fullmatch(text) else "must be at most 20 digits, + * or #"
