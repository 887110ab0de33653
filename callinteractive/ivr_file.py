"""ivr.yaml: from text to validated, frozen data, or to findings with file, line and reason (C1-C6)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from callinteractive.actions import BY_YAML_KEY, INVALID, START, TIMEOUT, Action, Context
from callinteractive.document import Document, Value
from callinteractive.errors import ConfigError, InvalidActionError
from callinteractive.loading import MOST, without_collection
from callinteractive.model import Ivr, IvrFile
from callinteractive.near import Guesses, near
from callinteractive.site_file import SITE_KEYS
from callinteractive.spelling import check_did, check_extended, check_identifier, check_unique
from callinteractive.web import NOTHING, Web
from callinteractive.web_file import read_web
from callinteractive.written import Value as WrittenValue
from callinteractive.written import WrittenAction

_OPTION = re.compile(r"[0-9*#A-D]{1,32}", re.ASCII)

IVR_KEYS = ("contexts", "ivrs", "web")
"""The keys of ivr.yaml."""
_OF_SITE = dict.fromkeys(SITE_KEYS, "this key belongs into site.yaml")
_SWAPPED = "this is a site, where a file of IVRs is wanted: are the two swapped?"
Jumps = list[tuple[Value, tuple[str, str]]]
"""Where rules jump to: the rule, a context and an option."""


def is_ivr_file(name: str) -> bool:
    """Whether a file of that name in a folder of IVRs counts: not the hidden ones of editors and of `git`."""
    return name.endswith(".yaml") and not name.startswith(".")


def load_ivr_file(text: str, filename: str) -> IvrFile:
    """Read ivr.yaml. Raises ConfigError with all findings."""
    return load_ivr_files({filename: text})


@without_collection()
def load_ivr_files(texts: Mapping[str, str]) -> IvrFile:
    """Read one ivr.yaml that is written in several files: texts by file name. Raises ConfigError with all findings."""
    documents = _documents(texts)
    roots = [document.root.section(*IVR_KEYS, withdrawn=_OF_SITE) for document in documents]
    jumps: Jumps = []
    written = [entry for root in roots for entry in root["contexts"].entries().items()]
    contexts = {name: _context(name, value, jumps) for name, value in written}
    guesses = Guesses()
    ivrs = []
    for root in roots:
        web = read_web(root["web"], NOTHING)
        ivrs += [(item, _ivr(item, contexts, web, guesses)) for item in root["ivrs"].items()]
    if not ivrs and all(root["ivrs"].is_missing or root["ivrs"].is_list for root in roots):
        documents[0].root.wrong('no IVR is configured; write ivrs: [{number: "000*332", id: 1, entry_context: 1}]')
    for where, (context, option) in jumps:
        if context not in contexts:
            meant = guesses.near(context, contexts)
            where.wrong(f"jumps to context {context[:40]!r}{meant}, which is not configured")
        elif option not in contexts[context].options:
            meant = guesses.near(option, contexts[context].options)
            where.wrong(f"jumps to option {option[:40]!r}{meant}, but context {context!r} has no such option")
    check_unique("context", ((value, name) for name, value in written))
    check_unique("IVR", ((item, ivr.number) for item, ivr in ivrs))
    check_unique("IVR id", ((item, str(ivr.id)) for item, ivr in ivrs))
    check_unique("DID", ((item, did.removeprefix("+")) for item, ivr in ivrs for did in ivr.dids))
    _finish(documents)
    all_ivrs = tuple(ivr for _, ivr in ivrs)
    return IvrFile(all_ivrs, contexts, _generation(all_ivrs, contexts))


def _generation(ivrs: tuple[Ivr, ...], contexts: Mapping[str, Context]) -> str:
    """12 hex digits. These are plain frozen data, so their text tells all of them."""
    return hashlib.blake2s(repr((ivrs, contexts)).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _documents(texts: Mapping[str, str]) -> list[Document]:
    """Raises ConfigError with what is wrong with any of them."""
    documents, findings = [], []
    for filename, text in texts.items():
        try:
            document = Document(text, filename)
            document.refuse_swapped(SITE_KEYS, _SWAPPED)
            documents.append(document)
        except ConfigError as error:
            findings += error.findings
    if findings:
        raise ConfigError(findings)
    return documents


def _finish(documents: Sequence[Document]) -> None:
    """Raise ConfigError if there are findings in any."""
    if findings := [finding for document in documents for finding in document.findings]:
        raise ConfigError(sorted(findings))


def _ivr(value: Value, contexts: Mapping[str, Context], web: Web, guesses: Guesses) -> Ivr:
    """web: what counts for all IVRs of the file."""
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
        "mask_digits",
        "web",
    )
    entry = section["entry_context"]
    request_timeout_s = section["request_timeout_s"].number(float, 10.0, 0.05, 120)
    ivr = Ivr(
        number=section["number"].checked(check_extended),
        id=section["id"].integer(None, 0, 2**63),
        entry_context=entry.text(),
        dids=tuple(item.checked(check_did) for item in section["dids"].items()),
        answer="at_once" if section["answer"].choice("at_once", ("at_once", "on_media")) == "at_once" else "on_media",
        lifetime_s=section["lifetime"].integer(3600, 1, 86_400),
        connect_timeout_s=section["connect_timeout_s"].number(float, 2.0, 0.05, 60),
        request_timeout_s=request_timeout_s,
        follow_redirects=section["follow_redirects"].boolean(False),
        max_calls=section["max_calls"].optional_integer(1, MOST),
        mask_digits=section["mask_digits"].boolean(False),
        web=read_web(section["web"], web, request_timeout_s),
    )
    if entry.is_missing:
        return ivr
    if ivr.entry_context not in contexts:
        meant = guesses.near(ivr.entry_context, contexts)
        known = ", ".join(contexts)[:200]
        entry.wrong(f"context {ivr.entry_context[:40]!r}{meant} is not configured; known: {known}")
    elif START not in contexts[ivr.entry_context].options:
        entry.wrong(f"context {ivr.entry_context!r} has no option start: every caller would be hung up on")
    return ivr


def _context(name: str, value: Value, jumps: Jumps) -> Context:
    if check_identifier(name):
        value.wrong("a context's ID is at most 64 letters, digits, _ and -")
    section = value.section(
        "options", "digit_len", "name", "timeout", "inter_digit_timeout", "max_silent_rounds", "pool", "mask_digits"
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
        mask_digits=section["mask_digits"].boolean(False),
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
        item.wrong(f"unknown rule {name[:40]!r}{near(name, BY_YAML_KEY)}; known: {', '.join(BY_YAML_KEY)}")
        return None
    if value and not value.is_mapping and not value.is_missing:
        key = kind.TEXT_KEY or next(iter(kind.ATTRIBUTES), "")
        value.wrong(f"must be a mapping, such as {name}: {{{key}: …}}" if key else f"takes nothing: write - {name}")
        return None
    attributes = {key: _written_value(entry) for key, entry in (value.entries() if value else {}).items()}
    text = attributes.pop(kind.TEXT_KEY, None) if kind.TEXT_KEY else None
    written = WrittenAction(attributes, text)
    try:
        action = kind.read(written)
    except InvalidActionError as error:  # what is missing may be there under another name
        (value or item).wrong("; ".join((str(error), *kind.not_understood(written, kind.TEXT_KEY))))
        return None
    for complaint in (*written.warnings, *kind.not_understood(written, kind.TEXT_KEY)):
        (value or item).wrong(complaint)
    return action


def _written_value(value: Value) -> WrittenValue:
    return tuple(item.text() for item in value.items()) if value.is_list else value.scalar()
