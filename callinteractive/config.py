"""site.yaml and ivr.yaml: from text to validated, frozen data, or to findings with file, line and reason (C1-C6)."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from callinteractive.actions import BY_YAML_KEY, INVALID, START, TIMEOUT, Action, Context
from callinteractive.document import Document, Value
from callinteractive.errors import ConfigError, InvalidActionError
from callinteractive.limits import MAX_SIDECARS
from callinteractive.model import (
    DEFAULT_IDENTITY,
    EXTENSION_CALLS,
    EXTENSION_SETUPS,
    TRUNK_CALLS,
    TRUNK_SETUPS,
    Defaults,
    Extension,
    IdentityHeader,
    Ivr,
    IvrFile,
    Kamailio,
    RtpEngine,
    SidecarPool,
    Site,
    Trunk,
)
from callinteractive.spelling import (
    check_did,
    check_extended,
    check_host,
    check_identifier,
    check_interface,
    check_unique,
    read_address,
    read_listen,
    read_network,
    read_sip_uri,
    read_sound,
    socket_host,
)
from callinteractive.written import Value as WrittenValue
from callinteractive.written import WrittenAction

_WITHDRAWN = {"dtmf_port": "is no longer needed, take it out: digits come from `ng`, over TCP"}
_OPTION = re.compile(r"[0-9*#A-D]{1,32}", re.ASCII)
_LIMITS = ("max_calls", "max_setups_per_s")
_MOST = 1_000_000

SITE_KEYS = (
    "node",
    "sip",
    "trunks",
    "extensions",
    "sidecars",
    "kamailio",
    "rtpengine",
    "sounds",
    "defaults",
    "internal_calls",
)
"""The keys of site.yaml."""


Jumps = list[tuple[Value, tuple[str, str]]]
"""Where rules jump to: the rule, a context and an option."""


@contextmanager
def _without_collection() -> Iterator[None]:
    """Nothing that loading makes is garbage. To look for it took half of the time with thousands of contexts."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_without_collection()
def load_site(text: str, filename: str) -> Site:
    """Read site.yaml. Raises ConfigError with all findings."""
    document = Document(text, filename)
    root = document.root.section(*SITE_KEYS)
    sip = root["sip"].section("listen")
    trunks = [(item, _trunk(item)) for item in root["trunks"].items()]
    extensions = [(item, _extension(item)) for item in root["extensions"].items()]
    site = Site(
        node=root["node"].integer(None, 0, 2**63),
        listen=read_listen(sip["listen"]),
        trunks=tuple(trunk for _, trunk in trunks),
        extensions=tuple(extension for _, extension in extensions),
        sidecars=_sidecars(root["sidecars"]),
        kamailio=_kamailio(root["kamailio"]),
        rtpengine=_rtpengine(root["rtpengine"]),
        sounds=root["sounds"].text("./sounds"),
        defaults=_defaults(root["defaults"]),
        internal_calls=root["internal_calls"].boolean(True),
    )
    check_unique("trunk", ((item, trunk.name) for item, trunk in trunks))
    check_unique("extension", ((item, extension.number) for item, extension in extensions))
    check_unique("extension id", ((item, str(extension.id)) for item, extension in extensions))
    document.finish()
    return site


def load_ivr_file(text: str, filename: str) -> IvrFile:
    """Read ivr.yaml. Raises ConfigError with all findings."""
    return load_ivr_files({filename: text})


@_without_collection()
def load_ivr_files(texts: Mapping[str, str]) -> IvrFile:
    """Read one ivr.yaml that is written in several files: texts by file name. Raises ConfigError with all findings."""
    documents = _documents(texts)
    roots = [document.root.section("contexts", "ivrs") for document in documents]
    jumps: Jumps = []
    written = [entry for root in roots for entry in root["contexts"].entries().items()]
    contexts = {name: _context(name, value, jumps) for name, value in written}
    ivrs = [(item, _ivr(item, contexts)) for root in roots for item in root["ivrs"].items()]
    if not ivrs:
        documents[0].root.wrong('no IVR is configured; write ivrs: [{number: "000*332", id: 1, entry_context: 1}]')
    for where, (context, option) in jumps:
        if context not in contexts:
            where.wrong(f"jumps to context {context[:40]!r}, which is not configured")
        elif option not in contexts[context].options:
            where.wrong(f"jumps to option {option[:40]!r}, but context {context!r} has no such option")
    check_unique("context", ((value, name) for name, value in written))
    check_unique("IVR", ((item, ivr.number) for item, ivr in ivrs))
    check_unique("IVR id", ((item, str(ivr.id)) for item, ivr in ivrs))
    check_unique("DID", ((item, did.removeprefix("+")) for item, ivr in ivrs for did in ivr.dids))
    _finish(documents)
    return IvrFile(tuple(ivr for _, ivr in ivrs), contexts)


def _documents(texts: Mapping[str, str]) -> list[Document]:
    """Raises ConfigError with what is wrong with any of them."""
    documents, findings = [], []
    for filename, text in texts.items():
        try:
            documents.append(Document(text, filename))
        except ConfigError as error:
            findings += error.findings
    if findings:
        raise ConfigError(findings)
    return documents


def _finish(documents: Sequence[Document]) -> None:
    """Raise ConfigError if there are findings in any."""
    if findings := [finding for document in documents for finding in document.findings]:
        raise ConfigError(sorted(findings))


def without_pool(site: Site, ivr_file: IvrFile) -> dict[str, str]:
    """Contexts whose pool the site does not have: what is wrong, by context ID. Neither file shows it alone."""
    return {
        context.id: f"the site has no pool {context.pool!r} of sidecars"
        for context in ivr_file.contexts.values()
        if context.pool is not None and context.pool not in site.sidecars.pools
    }


def _ivr(value: Value, contexts: Mapping[str, Context]) -> Ivr:
    section = value.section(
        "entry_context",
        "number",
        "id",
        "dids",
        "answer",
        "lifetime",
        "connect_timeout_s",
        "request_timeout_s",
        "follow_redirects",
        "max_calls",
    )
    entry = section["entry_context"]
    ivr = Ivr(
        number=section["number"].checked(check_extended),
        id=section["id"].integer(None, 0, 2**63),
        entry_context=entry.text(),
        dids=tuple(item.checked(check_did) for item in section["dids"].items()),
        answer="at_once" if section["answer"].choice("at_once", ("at_once", "on_media")) == "at_once" else "on_media",
        lifetime_s=section["lifetime"].integer(3600, 1, 86_400),
        connect_timeout_s=section["connect_timeout_s"].number(float, 2.0, 0.05, 60),
        request_timeout_s=section["request_timeout_s"].number(float, 10.0, 0.05, 120),
        follow_redirects=section["follow_redirects"].boolean(False),
        max_calls=section["max_calls"].optional_integer(1, _MOST),
    )
    if entry.is_missing:
        return ivr
    if ivr.entry_context not in contexts:
        entry.wrong(f"context {ivr.entry_context[:40]!r} is not configured; known: {', '.join(contexts)[:200]}")
    elif START not in contexts[ivr.entry_context].options:
        entry.wrong(f"context {ivr.entry_context!r} has no option start: every caller would be hung up on")
    return ivr


def _context(name: str, value: Value, jumps: Jumps) -> Context:
    if check_identifier(name):
        value.wrong("a context's ID is at most 64 letters, digits, _ and -")
    section = value.section(
        "options", "digit_len", "name", "timeout", "inter_digit_timeout", "max_silent_rounds", "pool"
    )
    written = section["options"].entries()
    options = {option: _rules(rules, jumps) for option, rules in written.items()}
    context = Context(
        id=name,
        name=section["name"].text(name),
        options=options,
        timeout_ms=section["timeout"].integer(5000, 1, 3_600_000),
        inter_digit_timeout_ms=section["inter_digit_timeout"].integer(2000, 1, 60_000),
        digit_len=section["digit_len"].optional_integer(1, 32),
        max_silent_rounds=section["max_silent_rounds"].integer(3, 0, 1000),
        pool=section["pool"].optional_text(),
    )
    for option in written.keys() - {START, TIMEOUT, INVALID}:
        if reason := _undiallable(option, context):
            written[option].wrong(reason)
    return context


def _undiallable(option: str, context: Context) -> str | None:
    """Why nobody can dial this option, or None (C3)."""
    if not _OPTION.fullmatch(option):
        return "an option is start, timeout, invalid, or what is dialled: 0-9 * # A-D"
    if len(option) > (context.digit_len or len(option)):
        return f"can never be dialled: digit_len ends the number after {context.digit_len}"
    if "#" in option and not context.has_hash_option:
        return "can never be dialled: # ends the number unless an option starts with #"
    return None


def _rules(value: Value, jumps: Jumps) -> tuple[Action, ...]:
    rules = []
    for item in value.items():
        action = _rule(item)
        if action:
            rules.append(action)
            if target := action.jumps_to():
                jumps.append((item, target))
    return tuple(rules)


def _rule(item: Value) -> Action | None:
    """One rule: a bare name, or a mapping of one name to its keys (C4)."""
    entries = item.entries() if item.is_mapping else {}
    if item.is_mapping and len(entries) != 1:
        item.wrong("a rule is one action: - play_sound: {file: welcome.wav}")
        return None
    name, value = next(iter(entries.items())) if entries else (item.text(""), None)
    kind = BY_YAML_KEY.get(name)
    if kind is None:
        item.wrong(f"unknown rule {name[:40]!r}; known: {', '.join(BY_YAML_KEY)}")
        return None
    attributes = {key: _written_value(entry) for key, entry in (value.entries() if value else {}).items()}
    text = attributes.pop(kind.TEXT_KEY, None) if kind.TEXT_KEY else None
    written = WrittenAction(attributes, text)
    try:
        action = kind.read(written)
    except InvalidActionError as error:
        (value or item).wrong(str(error))
        return None
    for complaint in (*written.warnings, *kind.not_understood(written)):
        (value or item).wrong(complaint)
    return action


def _written_value(value: Value) -> WrittenValue:
    return tuple(item.text() for item in value.items()) if value.is_list else value.scalar()


def _trunk(value: Value) -> Trunk:
    section = value.section("name", "from", "to", "identity", "trusted", "anchor_media", *_LIMITS)
    trunk = Trunk(
        name=section["name"].checked(check_identifier),
        sources=tuple(network for item in section["from"].items() if (network := read_network(item))),
        to=read_sip_uri(section["to"])[0],
        identity=_identity(section["identity"]),
        is_trusted=section["trusted"].boolean(False),
        anchors_media=section["anchor_media"].boolean(False),
        max_calls=section["max_calls"].integer(TRUNK_CALLS, 1, _MOST),
        max_setups_per_s=section["max_setups_per_s"].integer(TRUNK_SETUPS, 1, _MOST),
    )
    if not trunk.sources and not trunk.to:
        value.wrong('needs from (["127.0.0.2/32"], whose calls are accepted), to ("sip:127.0.0.2:5080"), or both')
    return trunk


def _extension(value: Value) -> Extension:
    section = value.section("contact", "number", "id", "password", "anchor_media", *_LIMITS)
    contact, host = read_sip_uri(section["contact"])
    extension = Extension(
        number=section["number"].checked(check_extended),
        id=section["id"].integer(None, 0, 2**63),
        contact=contact,
        password=section["password"].optional_text() or None,
        contact_host=host,
        anchors_media=section["anchor_media"].boolean(False),
        max_calls=section["max_calls"].integer(EXTENSION_CALLS, 1, _MOST),
        max_setups_per_s=section["max_setups_per_s"].integer(EXTENSION_SETUPS, 1, _MOST),
    )
    if extension.contact is None and extension.password is None:
        value.wrong("needs a contact (a fixed phone) or a password (a phone that registers)")
    return extension


def _sidecars(value: Value) -> SidecarPool:
    keys = ("count", "host", "base_port", "metrics_port", "pools", "max_calls", "max_unacknowledged")
    section, default = value.section(*keys), SidecarPool()
    count = section["count"].integer(default.count, 1, MAX_SIDECARS)
    pool = SidecarPool(
        count=count,
        host=socket_host(section["host"].checked(check_host, default.host)) or default.host,
        base_port=section["base_port"].integer(default.base_port, 1, 65535 - MAX_SIDECARS),
        metrics_port=section["metrics_port"].integer(default.metrics_port, 1, 65535 - MAX_SIDECARS),
        pools={
            name: tuple(index.integer(None, 0, count - 1) for index in indexes.items())
            for name, indexes in section["pools"].entries().items()
        },
        max_calls=section["max_calls"].integer(default.max_calls, 1, _MOST),
        max_unacknowledged=section["max_unacknowledged"].integer(default.max_unacknowledged, 1, _MOST),
    )
    members = [index for indexes in pool.pools.values() for index in indexes]
    if len(set(members)) != len(members):
        value.wrong("a sidecar can be in one pool only")
    for name, indexes in pool.pools.items():
        if not indexes or check_identifier(name):
            value.wrong(f"pool {name[:40]!r} needs a plain name and at least one sidecar: pools: {{vip: [1]}}")
    if not pool.members(None):
        value.wrong("at least one sidecar must be in no pool, for the contexts that name none")
    return pool


def _identity(value: Value) -> tuple[IdentityHeader, ...]:
    """Which headers tell a trunk the caller's number."""
    if value.is_missing:
        return DEFAULT_IDENTITY
    known: dict[str, IdentityHeader] = {"from": "from", "pai": "pai", "rpid": "rpid"}
    named = [item.choice("from", tuple(known)) for item in value.items()]
    return tuple(known[name] for name in named)


def _kamailio(value: Value) -> Kamailio:
    section, default = value.section("workers", "shared_mb", "private_mb"), Kamailio()
    return Kamailio(
        workers=section["workers"].optional_integer(1, 256),
        shared_mb=section["shared_mb"].integer(default.shared_mb, 32, 65_536),
        private_mb=section["private_mb"].integer(default.private_mb, 8, 1024),
    )


def _rtpengine(value: Value) -> RtpEngine:
    keys = ("ng", "ports", "interface", "http_port", "timeout_s", "threads", "kernel_table")
    section = value.section(*keys, withdrawn=_WITHDRAWN)
    default = RtpEngine()
    ng = read_address(section["ng"], default.ng)
    default_ports = [default.port_min, default.port_max]
    ports = [item.integer(None, 1024, 65535) for item in section["ports"].items()] or default_ports
    if len(ports) != 2 or ports[0] >= ports[1]:
        value.wrong("ports must be [first, last]")
        ports = default_ports
    return RtpEngine(
        ng=ng,
        interface=section["interface"].checked(check_interface, default.interface),
        port_min=ports[0],
        port_max=ports[1],
        http_port=section["http_port"].optional_integer(1, 65535),
        timeout_s=section["timeout_s"].integer(default.timeout_s, 10, 86_400),
        threads=section["threads"].optional_integer(1, 256),
        kernel_table=section["kernel_table"].optional_integer(0, 63),
    )


def _defaults(value: Value) -> Defaults:
    section, default = value.section("transfer_timeout_s", "ringback"), Defaults()
    return Defaults(
        transfer_timeout_s=section["transfer_timeout_s"].integer(default.transfer_timeout_s, 1, 3600),
        ringback=read_sound(section["ringback"]),
    )
