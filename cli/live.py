"""The commands that look at live calls and steer them, by the API (`cli.api`)."""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

import click

from cli.live_text import SHORT, aligned, is_told, lines_of, past, table
from cli.options import CONFIG, LOG_FORMAT, OF_HERE, SITE, STATE_DIR
from sidecar.linewriter import printable

if TYPE_CHECKING:
    from cli.api.client import Client

_OPTIONS = (
    click.option(
        "--site",
        "site_path",
        type=CONFIG,
        help=f"site.yaml, which says where the API is; {OF_HERE}",
    ),
    click.option("--api", "url", envvar="CALLINTERACTIVE_API", metavar="URL", help="The API, where it is elsewhere."),
    click.option(
        "--state-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where the API keeps its token; default: as for `run`. CALLINTERACTIVE_TOKEN goes before it.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program."),
)
LOOK_EVERY_S = 0.3
_SHORTEST = 6
"""Characters of a CallID that may stand for it."""


def _asks(command: Callable[..., object]) -> Callable[..., None]:
    """A command that gets a `client` and `as_json`. Its exit status is 1 where the API says no."""

    @wraps(command)
    def asking(*, url: str | None, site_path: Path | None, state_dir: Path | None, **more: Any) -> None:
        from cli.api.client import Client, ClientError

        try:
            command(client=Client.find(url, site_path, state_dir), **more)
        except ClientError as error:
            click.echo(str(error), err=True)
            sys.exit(1)

    for option in reversed(_OPTIONS):
        asking = option(asking)
    return asking


@click.command(short_help="List the calls in progress.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="The newest so many.")
@click.option("--recent", is_flag=True, help="The last calls, those that are over too.")
@_asks
def calls(client: Client, limit: int, *, recent: bool, as_json: bool) -> None:
    """List the calls of the whole site that are in progress, newest first.

    \b
      callinteractive calls
      callinteractive calls --recent
      callinteractive calls --json | jq '.calls[] | select(.state == "connected")'
    """
    told = client.ask("GET", "/v1/recent" if recent else f"/v1/calls?limit={limit}")
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    calls = told["calls"][:limit]
    for line in past(calls) if recent else table(calls):
        click.echo(line)
    shown, total = len(calls), told.get("total", len(told["calls"]))
    click.echo(f"{total} call{'' if total == 1 else 's'}{f', {shown} shown' if shown < total else ''}")
    if told["silent"]:
        click.echo(f"no answer from {', '.join(told['silent'])}", err=True)


@click.command(short_help="Show one call.")
@click.argument("call_id", metavar="ID")
@_asks
def show(client: Client, call_id: str, *, as_json: bool) -> None:
    """Show one call and what has happened in it: one in progress, or one of the last.

    ID is its CallID, the first 6 or more characters of that, or its CallAPIID.

    \b
      callinteractive show 5205dc5c
    """
    call, records = _found(client, call_id)
    if as_json:
        click.echo(json.dumps({**call, "records": records}, indent=2))
        return
    for name, value in call.items():
        if is_told(value):
            click.echo(f"{name.replace('_', ' '):<14} {printable(str(value))}")
    click.echo()
    for line in lines_of(records):
        click.echo(line)


def _found(client: Client, call_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A call in progress, or one of the last, with its records. Raises ClientError."""
    from cli.api.client import ClientError

    try:
        call = client.ask("GET", _path(call_id))
    except ClientError as error:
        if error.status != 404:
            raise
        known = client.ask("GET", "/v1/recent")["calls"]
        found = [each for each in known if call_id in (each["call_id"], each["call_api_id"])]
        if not found and len(call_id) >= _SHORTEST:
            found = [each for each in known if each["call_id"].startswith(call_id)]
        if len(found) != 1:
            raise
        call = found[0]
    try:
        return call, client.ask("GET", f"{_path(call['call_id'])}/records")["records"]
    except ClientError as error:
        if error.status != 404:
            raise
        return call, []  # nothing has happened in it yet


@click.command(short_help="Run the API, as a service of its own.")
@SITE
@click.option(
    "--ivr",
    "ivr_path",
    type=click.Path(path_type=Path),
    help="ivr.yaml, a file or a folder, for the page's editor and phone; without it, the page has none.",
)
@STATE_DIR
@LOG_FORMAT
def api(
    site_path: Path,
    ivr_path: Path | None,
    state_dir: Path | None,
    log_format: Literal["auto", "console", "json"],
) -> None:
    """Run the API of the site's live calls, and the page, where the parts are services. `run` does so by itself.

    It makes its token at the first start and keeps it in the state directory. CALLINTERACTIVE_TOKEN goes before that.

    \b
      callinteractive api --site site.yaml --ivr ivr.yaml
    """
    from cli.api import command

    sys.exit(command.run(site_path, ivr_path, state_dir, log_format))


@click.command(short_help="End a call.")
@click.argument("call_id", metavar="ID")
@_asks
def hangup(client: Client, call_id: str, *, as_json: bool) -> None:
    """End a call: both sides are hung up. One that is not answered yet is refused.

    \b
      callinteractive hangup 5205dc5c
    """
    _tell(client.ask("DELETE", _path(call_id)), "is hung up", as_json=as_json)


@click.command(short_help="Lead a call to another context.")
@click.argument("call_id", metavar="ID")
@click.argument("context")
@click.argument("option", default="start")
@_asks
def jump(client: Client, call_id: str, context: str, option: str, *, as_json: bool) -> None:
    """Lead a call to CONTEXT, at OPTION (by default start), whatever it does now.

    A callee who rings or talks is hung up: the caller is back in the IVR.

    \b
      callinteractive jump 5205dc5c 3
    """
    call = client.ask("POST", f"{_path(call_id)}/jump", {"context": context, "option": option})
    _tell(call, f"goes on at {context}/{option}", as_json=as_json)


@click.command(short_help="Print the link to the page in a browser.")
@_asks
def page(client: Client, *, as_json: bool) -> None:
    """Print the link to the page: calls, a phone, an editor. Who has the link can do all that the API can.

    \b
      xdg-open "$(callinteractive page)"
    """
    client.ask("GET", "/v1/calls?limit=1")  # a link that leads nowhere tells nobody why
    link = f"{client.url}/#token={quote(client.token, safe='')}"
    click.echo(json.dumps({"link": link}) if as_json else link)


@click.command(short_help="Call a number, and let it enter a context.")
@click.argument("number")
@click.option("--context", required=True, help="Where the call enters when it is answered.")
@click.option("--option", default="start", show_default=True, help="Which option of that context.")
@click.option("--ivr", help="The IVR whose call it is; not needed where there is one, or one with that context.")
@click.option("--caller", help="Who is seen calling; default: the IVR's first DID, or its number.")
@click.option("--name", help="The caller's name.")
@click.option(
    "--timeout",
    type=click.IntRange(1, 600),
    help="How many seconds it rings; default: defaults.transfer_timeout_s of site.yaml.",
)
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="A variable; may be repeated.")
@click.option("--wait", "waits", is_flag=True, help="Until it is answered; the exit status is 1 if it is not.")
@_asks
def dial(client: Client, number: str, variables: tuple[str, ...], *, waits: bool, as_json: bool, **more: Any) -> None:
    """Call NUMBER: an extension, or a number outside. Whoever answers enters the context, as a caller does.

    \b
      callinteractive dial 306 --context 3
      callinteractive dial +15550123 --context alarm --var site=Depot --caller +15550100
    """
    order = {"to": number, "variables": _variables(variables)}
    names = {"caller": "caller_number", "name": "caller_name", "timeout": "timeout_s"}
    order |= {names.get(name, name): value for name, value in more.items() if value is not None}
    call = client.ask("POST", "/v1/calls", order)
    hint = "" if waits else "; --wait tells whether somebody answers"
    click.echo(json.dumps(call, indent=2) if as_json else f"call {call['call_id'][:SHORT]} goes to {number}{hint}")
    if waits:
        _wait_for_answer(client, call["call_id"])


def _wait_for_answer(client: Client, call_id: str) -> None:
    """Exits with 1 where it is not answered. It rings for a bounded time."""
    while True:
        _, records = _found(client, call_id)
        decided = [record for record in records if record["event"] in ("call.answered", "call.ended")]
        if decided:
            click.echo(next(lines_of(decided)), err=True)
            sys.exit(0 if decided[0]["event"] == "call.answered" else 1)
        time.sleep(LOOK_EVERY_S)


def _variables(written: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for each in written:
        name, equals, value = each.partition("=")
        if not equals:
            raise click.BadParameter(f"{each!r} is not like name=value", param_hint="--var")
        found[name] = value
    return found


@click.command(short_help="List the extensions and their phones.")
@_asks
def phones(client: Client, *, as_json: bool) -> None:
    """List the extensions and where their phones are: registered ones, and those that site.yaml names.

    \b
      callinteractive phones
    """
    told = client.ask("GET", "/v1/phones")
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    rows = [("EXTENSION", "PHONE", "FROM", "EXPIRES", "USER AGENT")]
    for phone in told["phones"]:
        contacts = phone["contacts"] or [{"uri": "not registered"}]
        for contact in contacts:
            expires = f"{contact['expires_s']} s" if contact.get("expires_s") is not None else ""
            more = contact.get("received", ""), expires, contact.get("user_agent", "")
            rows.append((phone["extension"], contact["uri"], *more))
    for line in aligned(rows):
        click.echo(line)


COMMANDS = (api, calls, dial, hangup, jump, page, phones, show)


def _path(call_id: str) -> str:
    return f"/v1/calls/{quote(call_id, safe='', errors='surrogateescape')}"


def _tell(call: dict[str, Any], what: str, *, as_json: bool) -> None:
    who = f"{call['call_id'][:SHORT]} ({call['caller_number']} to {call['called_number']})"
    click.echo(json.dumps(call, indent=2) if as_json else printable(f"call {who} {what}"))
