"""The parts of site.yaml that say who calls: trunks and extensions."""

from __future__ import annotations

from callinteractive.document import Value
from callinteractive.loading import MOST
from callinteractive.model import (
    DEFAULT_IDENTITY,
    EXTENSION_CALLS,
    EXTENSION_SETUPS,
    TRUNK_CALLS,
    TRUNK_SETUPS,
    Extension,
    IdentityHeader,
    Media,
    Srtp,
    Trunk,
)
from callinteractive.secret import problem_of
from callinteractive.spelling import check_extended, check_identifier, read_sip_uri, read_source
from callinteractive.tls_file import read_trunk_tls
from callinteractive.trunk_file import TRUNK_KEYS, read_gateways, read_trunk_options

_LIMITS = ("max_calls", "max_setups_per_s")


def read_trunk(value: Value) -> Trunk:
    keys = ("name", "from", "to", "identity", "trusted", "anchor_media", "media", "tls")
    section = value.section(*keys, *_LIMITS, *TRUNK_KEYS)
    sources = [source for item in section["from"].items() if (source := read_source(item))]
    trunk = Trunk(
        name=section["name"].checked(check_identifier),
        sources=tuple(source for source in sources if not isinstance(source, str)),
        source_names=tuple(source for source in sources if isinstance(source, str)),
        to=read_gateways(section["to"]),
        identity=_identity(section["identity"]),
        is_trusted=section["trusted"].boolean(False),
        anchors_media=section["anchor_media"].boolean(False),
        media=_media(section["media"], "srtp"),
        max_calls=section["max_calls"].integer(TRUNK_CALLS, 1, MOST),
        max_setups_per_s=section["max_setups_per_s"].integer(TRUNK_SETUPS, 1, MOST),
        tls_name=read_trunk_tls(section["tls"]),
        **read_trunk_options(section),
    )
    has_to = not section["to"].is_missing  # also where it is wrong
    if trunk.registration and not has_to:
        section["register"].wrong("needs to: the URI of the registrar")
    if not (sources or has_to or trunk.tls_name or trunk.inbound):
        value.wrong('needs from (["127.0.0.2/32"], whose calls are accepted), to ("sip:127.0.0.2:5080"), or both')
    return trunk


def read_extension(value: Value) -> Extension:
    section = value.section("contact", "number", "id", "password", "anchor_media", "media", *_LIMITS)
    contact, host = read_sip_uri(section["contact"])
    extension = Extension(
        number=section["number"].checked(check_extended),
        id=section["id"].integer(None, 0, 2**63),
        contact=contact,
        password=section["password"].checked(_check_password, "") or None,
        contact_host=host,
        anchors_media=section["anchor_media"].boolean(False),
        media=_media(section["media"], "srtp", "webrtc"),
        max_calls=section["max_calls"].integer(EXTENSION_CALLS, 1, MOST),
        max_setups_per_s=section["max_setups_per_s"].integer(EXTENSION_SETUPS, 1, MOST),
    )
    if extension.contact is None and extension.password is None:
        value.wrong("needs a contact (a fixed phone) or a password (a phone that registers)")
    return extension


def _check_password(text: str) -> str | None:
    return problem_of(text) if text else None


def _media(value: Value, *keys: str) -> Media:
    known: dict[str, Srtp] = {"required": "required", "optional": "optional", "no": "no"}
    section = value.section(*keys)
    srtp = known[section["srtp"].choice("optional", tuple(known))]
    webrtc = section["webrtc"].boolean(False) if "webrtc" in section else False
    if webrtc and srtp == "no":
        section["webrtc"].wrong("a browser's sound is always encrypted; take out srtp: no")
    return Media(srtp, webrtc)


def _identity(value: Value) -> tuple[IdentityHeader, ...]:
    """Which headers tell a trunk the caller's number."""
    if value.is_missing:
        return DEFAULT_IDENTITY
    known: dict[str, IdentityHeader] = {"from": "from", "pai": "pai", "rpid": "rpid"}
    named = [item.choice("from", tuple(known)) for item in value.items()]
    return tuple(known[name] for name in named)
