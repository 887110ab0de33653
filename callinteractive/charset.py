"""What charset an answer's body is in: a byte order mark, else Content-Type, else the XML declaration, else UTF-8.

R9, RFC 7303 section 3; what XML 1.0 Appendix F says of the first octets decides between them where they can't all be
true.
"""

from __future__ import annotations

import re

from callinteractive.errors import ResponseError

_GZIP = b"\x1f\x8b"
"""How it begins (RFC 1952 2.3.1)."""
UNCOMPRESSED = "send it as it is, as Accept-Encoding: identity asks"
_UTF_8_MARK = b"\xef\xbb\xbf"
_MARKS = (
    (_UTF_8_MARK, "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_WIDE = (
    (re.compile(rb"<\x00\x00\x00|(?:[ \t\r\n]\x00\x00\x00)+<\x00\x00\x00"), "utf-32-le"),
    (re.compile(rb"(?:\x00\x00\x00[ \t\r\n])*\x00\x00\x00<"), "utf-32-be"),
    (re.compile(rb"(?:[ \t\r\n]\x00)*<\x00"), "utf-16-le"),
    (re.compile(rb"(?:\x00[ \t\r\n])*\x00<"), "utf-16-be"),
)
"""How XML in a wide charset without a mark begins."""
_DECLARATION = re.compile(
    rb"""[ \t\r\n]*<\?xml[ \t\r\n][^<>]{0,200}?encoding[ \t\r\n]*=[ \t\r\n]*["']([A-Za-z][A-Za-z0-9._-]*)["']"""
)
_PARAMETER = re.compile(r""";[ \t]*charset[ \t]*=[ \t]*(?:"([^"\\]*)"|'([^']*)'|([^;,\s"']*))""", re.IGNORECASE)
"""RFC 9110 section 8.3.1. Single quotes and blanks around = are no syntax of it, but sent."""
_IGNORED = "\ufeff \t\r\n"


def _names() -> dict[str, str]:
    """Python's codec by each name that we know. Not all of Python's: some are slow, and some are no charsets."""
    names = {
        "utf8": "utf-8", "unicode-1-1-utf-8": "utf-8",
        "ascii": "ascii", "us-ascii": "ascii",
        "utf-16": "utf-16-be", "utf-16be": "utf-16-be", "utf-16le": "utf-16-le", "utf16": "utf-16-be",
        "utf-32": "utf-32-be", "utf-32be": "utf-32-be", "utf-32le": "utf-32-le",
        "ucs-2": "utf-16-be", "iso-10646-ucs-2": "utf-16-be",
        "latin1": "iso-8859-1", "latin-1": "iso-8859-1", "l1": "iso-8859-1",
        "shift-jis": "cp932", "sjis": "cp932", "x-sjis": "cp932", "windows-31j": "cp932",
        "gb2312": "gb18030", "gbk": "gb18030", "euc-kr": "cp949", "ks-c-5601-1987": "cp949",
        "ibm850": "cp850", "ibm852": "cp852", "ibm855": "cp855", "ibm866": "cp866",
        "macintosh": "mac-roman", "x-mac-cyrillic": "mac-cyrillic", "windows-874": "cp874", "tis-620": "tis-620",
    }  # fmt: skip
    for name in ("utf-8", "gb18030", "big5", "euc-jp", "koi8-r", "koi8-u", "cp850", "cp852", "cp855", "cp866", "cp932"):
        names[name] = name
    for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16):
        names[f"iso-8859-{number}"] = names[f"iso8859-{number}"] = f"iso-8859-{number}"
    for number in range(1250, 1259):
        names[f"windows-{number}"] = names[f"cp{number}"] = names[f"cp-{number}"] = f"cp{number}"
    return names


_CODECS = _names()


def decode(body: bytes, content_type: str | None) -> str:
    """The body as text, without mark and white space at its begin. Raises ResponseError.

    `content_type` is the value of that header. White space and marks before an XML declaration would make it no XML;
    they are moved behind it, so that lines keep their numbers.
    """
    if body.startswith(_GZIP):
        raise ResponseError(f"not XML: it is compressed (gzip); {UNCOMPRESSED}")
    codec, body = _codec(body, content_type)
    try:
        text = body.decode(codec)
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        octet = f"octet 0x{body[error.start]:02x} is not {codec}"
        raise ResponseError(f"not XML: {octet}; send utf-8, or name the charset in Content-Type", line) from None
    start = text.lstrip(_IGNORED)
    if not start.startswith("<?xml"):
        return text.lstrip("\ufeff")
    declaration, end, rest = start.partition("?>")
    return declaration + end + text[: len(text) - len(start)].replace("\ufeff", "") + rest


def is_markup(body: bytes) -> bool:
    """Whether it begins like XML, in whatever charset, or says nothing at all."""
    try:
        codec, rest = _codec(body, None)
    except ResponseError:
        return True  # only a declaration can name a charset that we don't know
    return rest[:4096].decode(codec, "ignore").strip(_IGNORED)[:1] in ("", "<")


def _codec(body: bytes, content_type: str | None) -> tuple[str, bytes]:
    """Python's name of the charset, and the body without its mark. Raises ResponseError."""
    wide = None
    if body[:1] != b"<" or body[1:2] == b"\0":  # most answers begin plainly
        for mark, codec in _MARKS:
            if body.startswith(mark):
                return codec, body[len(mark) :]
        space = body[: len(body) - len(body.lstrip(b" \t\r\n"))]
        if body.startswith(_UTF_8_MARK, len(space)):  # of a file that another one includes
            return "utf-8", space + body[len(space) + len(_UTF_8_MARK) :]
        wide = next((codec for pattern, codec in _WIDE if pattern.match(body)), None)
    named, where = _named(content_type), "Content-Type"
    if not named and (declared := _DECLARATION.match(body)):
        named, where = declared[1].decode("ascii"), "the XML declaration"
    if not named:
        return wide or "utf-8", body
    known = _CODECS.get(named.lower().replace("_", "-"))
    if known is None:
        raise ResponseError(f"not XML: Unsupported encoding {named[:40]!r} in {where}; use utf-8", 1)
    if not known.startswith(("utf-16", "utf-32")):
        return known, body
    if wide is None and where == "Content-Type":
        raise ResponseError(f"not XML: Content-Type says {named[:40]!r}, and the body is not in it", 1)
    # Which of its two orders shows from the octets. A declaration that could be read octet by octet is in neither.
    return wide or "utf-8", body


def _named(content_type: str | None) -> str:
    found = _PARAMETER.search(f";{content_type[:1000]}") if content_type else None
    return (found[1] or found[2] or found[3] or "").strip() if found else ""
