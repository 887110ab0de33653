"""Read the web application's answer: XML octets become actions, or an error with line and reason (X1-X4).

The input may be hostile: entities are not expanded, a DOCTYPE is refused, nothing is fetched, and size and number are
bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from lxml import etree

from callinteractive import actions, charset
from callinteractive.errors import InvalidActionError, ResponseError
from callinteractive.near import near
from callinteractive.written import WrittenAction

MAX_BODY = 64 * 1024
MAX_ACTIONS = 10
MAX_WARNINGS = 20
_SHORT = 1024
"""Octets of an answer that is read once and remembered: an application gives many of its calls the same answer."""


@dataclass(frozen=True, slots=True)
class Response:
    """What an answer asks for, and warnings of what is odd in it."""

    actions: tuple[actions.Action, ...] = ()
    warnings: tuple[str, ...] = ()


def parse(body: bytes, content_type: str | None = None) -> Response:
    """Read the body of an answer. An empty body is an answer without actions (X1). Raises ResponseError (X3).

    `content_type` is the value of the answer's Content-Type, whose charset counts (R9).
    """
    if len(body) > MAX_BODY:
        raise ResponseError(f"the body is longer than {MAX_BODY} octets")
    if len(body) + len(content_type or "") <= _SHORT:
        return _parse_short(body, content_type)
    return _parse(body, content_type)


@lru_cache(maxsize=256)
def _parse_short(body: bytes, content_type: str | None) -> Response:
    """An answer that can't be used is not remembered."""
    return _parse(body, content_type)


def _parse(body: bytes, content_type: str | None) -> Response:
    text = charset.decode(body, content_type) if body.strip() else ""  # nothing is in no charset
    if not text.strip():
        return Response()
    root = _root(text.encode())
    children = list(root)
    if len(children) > MAX_ACTIONS:
        raise ResponseError(f"{len(children)} actions, at most {MAX_ACTIONS} are allowed", _line(children[MAX_ACTIONS]))
    warnings = [f"line {_line(root)}: unknown attribute {str(name)[:40]!r}" for name in root.attrib]
    read = tuple([_action(element, warnings) for element in children])
    return Response(read, tuple(warnings[:MAX_WARNINGS]))


def lines(body: bytes) -> tuple[int, ...]:
    """In which line each action of `body` begins, for one that `parse` has taken."""
    text = charset.decode(body, None)
    return tuple(_line(element) for element in _root(text.encode())) if text.strip() else ()


def _line(element: etree._Element) -> int:
    line = element.sourceline  # None where lxml does not know it; the stubs wrongly add an Ellipsis
    return line if isinstance(line, int) else 0


_PARSER = etree.XMLParser(
    encoding="utf-8",  # whatever the declaration says: `charset` has seen to it
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    dtd_validation=False,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
)
"""Shared by all answers: to make a parser costs more than to read an answer."""


def _root(body: bytes) -> etree._Element:
    try:
        root = etree.fromstring(body, _PARSER)
    except etree.XMLSyntaxError as error:
        if (reason := _other_than_xml(body)) is not None:
            raise ResponseError(reason, 1) from None
        raise ResponseError(_reason(error), int(error.lineno or 0)) from None
    if root.tag != "Response" and _HTML.match(body):
        raise ResponseError(_A_PAGE, 1)
    if b"<!DOCTYPE" in body and root.getroottree().docinfo.doctype:  # type: ignore[union-attr]
        raise ResponseError("a DOCTYPE is not allowed; leave it out", body.count(b"\n", 0, body.find(b"<!DOCTYPE")) + 1)
    if root.tag != "Response":
        hint = "; leave xmlns out" if root.tag.endswith("}Response") else ""
        raise ResponseError(f"the root element must be <Response>, not <{root.tag[:40]}>{hint}", _line(root))
    _check_between(root.text, root)
    for child in root:
        _check_between(child.tail, child)
    return root


_BEGINS = "an answer begins with <?xml or <Response>"
_HTML = re.compile(rb"\s*(?:<\?xml[^>]{0,200}>\s*)?<(?:!doctype\s+)?html\b", re.IGNORECASE)
_A_PAGE = f"it is an HTML page, perhaps your application's error page; {_BEGINS}"
_AMPERSAND = "write &amp; for a literal &"
_JSON = f"not XML: it is JSON; {_BEGINS}"
_ESCAPED = "not XML: it is escaped as for a page of HTML; send < in place of &lt;"
_HINTS = (
    ("xmlParseEntityRef", _AMPERSAND),
    ("EntityRef:", _AMPERSAND),
    ("Entity '", f"XML itself knows amp, lt, gt, quot and apos only; others as a number, like &#160;; {_AMPERSAND}"),
    ("StartTag:", "write &lt; for a literal <"),
    ("AttValue:", "write an attribute's value in quotes"),
    ("Unescaped '<'", "write &lt; for a literal <"),
    ("Start tag expected", _BEGINS),
    ("XML declaration allowed only", "nothing stands before <?xml"),
    ("Extra content", "an answer is one <Response>, with nothing before or after it"),
)
"""What to do about what libxml2 says, by how that begins."""


def _other_than_xml(body: bytes) -> str | None:
    """What web applications send by mistake."""
    if _HTML.match(body):
        return _A_PAGE
    begin = body[:200].lstrip()
    if begin.startswith((b"{", b"[", b'"')):
        return _JSON
    return _ESCAPED if begin.startswith(b"&lt;") else None


def _reason(error: etree.XMLSyntaxError) -> str:
    """Why it is no XML, in which column, and what to do."""
    reason = str(error.msg).splitlines()[0].partition(", line ")[0]  # the rest may quote the body
    reason = reason.partition(", use XML_PARSE_HUGE")[0]
    hint = next((f"; {hint}" for start, hint in _HINTS if reason.startswith(start)), "")
    return f"not XML: {reason}, column {error.position[1]}{hint}"


def _check_between(text: str | None, element: etree._Element) -> None:
    if text and text.strip():
        raise ResponseError(f"text between the actions: {text.strip()[:40]!r}", _line(element))


def _unknown(tag: str) -> str:
    known = [action.NAME for action in actions.ACTIONS if action.IN_RESPONSE]
    rules = {action.NAME: action.yaml_key() for action in actions.ACTIONS}
    if tag in rules:
        hint = f": {rules[tag]} is a rule of ivr.yaml only; a Jump can lead to an option that has it"
    else:
        hint = near(tag, known)
    return f"unknown element <{tag[:40]}>{hint}; known: {', '.join(known)}"


def _action(element: etree._Element, warnings: list[str]) -> actions.Action:
    line = _line(element)
    kind = actions.BY_ELEMENT.get(str(element.tag))
    if kind is None:
        raise ResponseError(_unknown(str(element.tag)), line)
    if len(element):
        raise ResponseError(f"<{element.tag}> can't hold other elements", line)
    written = WrittenAction(dict(element.attrib), element.text)  # type: ignore[arg-type]  # the stubs know no mapping
    try:
        action = kind.read(written)
    except InvalidActionError as error:  # what is missing may be there under another name
        reasons = "; ".join((str(error), *kind.not_understood(written)))
        raise ResponseError(f"<{element.tag}>: {reasons}", line) from None
    for text in (*written.warnings, *kind.not_understood(written)):
        warnings.append(f"line {line}: <{element.tag}>: {text}")
    return action
