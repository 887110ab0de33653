"""The command line: the options and help of each command. The module of the command's name does the work.

A command imports its module only when it runs: `check` need not wait for media libraries to load.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import click

from cli import live
from cli.options import (
    CONFIG,
    DEFAULTS,
    EDGE,
    IVR,
    IVR_HELP,
    IVR_OR_URL,
    LOG_FORMAT,
    RTPENGINE,
    SITE,
    SITE_OF_HERE,
    SITE_OR_API,
    STATE_DIR,
    Configs,
    existing,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="callinteractive", prog_name="callinteractive")
def main() -> None:
    """A programmable IVR: your web application says in XML what a phone call does next.

    \b
    Make a folder with an IVR. In it call the IVR with no phone at all, check it, and run it:
      callinteractive new pizza
      callinteractive simulate
      callinteractive check
      callinteractive run
    """


for _command in live.COMMANDS:
    main.add_command(_command)


@main.command(short_help="Make a folder with an IVR that runs.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--template",
    type=click.Choice(["flask", "php", "node", "none"]),
    default="flask",
    show_default=True,
    help="What the web application is written in; none: there is none.",
)
@click.option("--address", default="127.0.0.1", show_default=True, help="This machine's, for the phones.")
def new(folder: Path, template: str, address: str) -> None:
    """Make a folder with an IVR that runs: site.yaml, ivr.yaml, sounds, a web application and two phones' accounts.

    Prints what to do next. Phones on other devices need --address, this machine's address in their network.

    \b
      callinteractive new pizza --template php
    """
    from cli import new as command

    sys.exit(command.run(folder, template, address))


@main.command(short_help="Run all parts on this machine until Ctrl-C.")
@SITE
@IVR_OR_URL
@LOG_FORMAT
@click.option(
    "--run-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the parts keep their files; default: a temporary directory, removed at the end.",
)
@STATE_DIR
@click.option(
    "--only",
    type=click.Choice(["rtpengine", "sidecars", "kamailio"]),
    multiple=True,
    help="Run only this part, where each is a service of its own; may be given several times.",
)
@EDGE
@RTPENGINE
@click.option("--app", metavar="COMMAND", help="Your web application, to be run along: started first, stopped last.")
def run(
    site_path: Path, ivr: Path | str, log_format: str, run_dir: Path | None, state_dir: Path | None,
    only: tuple[str, ...], edge: str | None, rtpengine: str | None, app: str | None,
) -> None:  # fmt: skip
    """Run Kamailio, RTPengine and the sidecars on this machine until Ctrl-C.

    Prints "ready sip:HOST:PORT" on stdout once all of them answer. A part that dies is started again. Ctrl-C or
    SIGTERM lets calls end (drain_s in site.yaml, by default 30 s) and stops all; a second Ctrl-C ends calls now.

    Of a fleet it runs the parts whose addresses this machine has, and says where the others are. All hosts then need
    the same CALLINTERACTIVE_KEY in the environment.

    A URL is fetched at the start. If that fails, or the file has mistakes, the last good one is used.

    \b
      callinteractive run --app "flask --app app run --port 8000"
      callinteractive run --only sidecars --site site.yaml --ivr ivr.yaml
      callinteractive run --site site.yaml --ivr https://config.example.com/ivr.yaml
    """
    from cli import run as command

    sys.exit(command.run(site_path, ivr, log_format, run_dir, only, state_dir, edge, rtpengine, app))


@main.command(short_help="Run one sidecar, as a service of its own.")
@SITE
@IVR
@LOG_FORMAT
@STATE_DIR
@click.option(
    "--index",
    type=click.IntRange(0),
    required=True,
    help="Which sidecar of the site this is, from 0; they are numbered through all hosts.",
)
@click.option(
    "--drain-s",
    type=click.FloatRange(0),
    default=3600,
    show_default=True,
    help="Seconds that calls may go on after SIGTERM, where site.yaml has no drain_s.",
)
def serve(site_path: Path, ivr_path: Path, log_format: str, index: int, state_dir: Path | None, drain_s: float) -> None:
    """Run one sidecar, for installations where Kamailio and RTPengine are services of their own.

    SIGTERM lets its calls end by themselves, and takes no new ones; a second SIGTERM ends them.

    \b
      callinteractive serve --site site.yaml --ivr ivr.yaml --index 0
    """
    from cli import serve as command

    sys.exit(command.run(site_path, ivr_path, log_format, index, state_dir, drain_s))


@main.command("exec", short_help="Become Kamailio or RTPengine, as a service of its own.")
@click.argument("part", type=click.Choice(["kamailio", "rtpengine"]))
@SITE
@IVR
@click.option(
    "--run-dir",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where it keeps its files; one of its own.",
)
@STATE_DIR
@EDGE
@RTPENGINE
def exec_part(
    part: str, site_path: Path, ivr_path: Path, run_dir: Path, state_dir: Path | None,
    edge: str | None, rtpengine: str | None,
) -> None:  # fmt: skip
    """Become Kamailio or RTPengine as this site needs it, for a service of its own.

    The process that you start turns into the daemon. systemd is told when it answers calls, and that it still does.

    \b
      callinteractive exec kamailio --site site.yaml --ivr ivr.yaml --run-dir /run/callinteractive-kamailio
    """
    from cli import execute as command

    sys.exit(command.run(part, site_path, ivr_path, run_dir, state_dir, edge if part == "kamailio" else rtpengine))


@main.command(short_help="Show whether each part of the site answers.")
@SITE_OF_HERE
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program.")
def status(site_path: Path, as_json: bool) -> None:
    """Ask every edge, sidecar and RTPengine of the site whether it answers, how fast, and how many calls it has.

    The exit status is 1 when one is down. Run it on a host of the site: it needs to reach their addresses.

    \b
      callinteractive status --site site.yaml
      callinteractive status --json | jq '.parts[] | select(.up | not)'
    """
    from cli import status as command
    from cli import units

    units.join(site_path)
    sys.exit(command.run(site_path, as_json=as_json))


@main.command("reload", short_help="Let site.yaml, ivr.yaml, sounds and certificates count now.")
@SITE_OR_API
@click.option("--ivr", "ivr_path", type=Configs(takes_url=False), help=f"{IVR_HELP} Default: the one that counts now.")
@STATE_DIR
@click.option(
    "--run-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Read only the TLS certificate again, in the Kamailio with this run directory.",
)
@EDGE
@click.option("--api", "url", metavar="URL", help="Do it on all hosts of the site, by the API at this address.")
def reload_files(
    site_path: Path, ivr_path: Path | None, state_dir: Path | None, run_dir: Path | None, edge: str | None,
    url: str | None,
) -> None:  # fmt: skip
    """Let what the files say now count for new calls, without a restart. Calls in progress keep what they began with.

    Both files are checked first. If there is a mistake, or a change that needs a restart (addresses, ports, how many
    there are of something), it is told, nothing changes anywhere, and the exit status is 1. Call it on
    each host, or once with --api.

    \b
      callinteractive reload --site site.yaml                  while `callinteractive run` runs
      systemctl reload callinteractive-kamailio                the same, where the parts are units
      callinteractive reload --api http://10.0.0.5:8090        on all hosts of the site
      callinteractive reload --site site.yaml --run-dir /run/callinteractive-kamailio    in a hook of certbot
    """
    if url is not None:
        if ivr_path or run_dir or edge:
            raise click.UsageError("with --api each host uses its own files: leave out --ivr, --run-dir and --edge")
        from cli import whole_site

        sys.exit(whole_site.reload(url, site_path, state_dir))
    from cli import reload as command
    from cli import units

    site_path = existing(site_path)
    units.join(site_path, state_dir)
    if run_dir is not None:
        sys.exit(command.certificates(site_path, run_dir, edge))
    sys.exit(command.run(site_path, ivr_path, state_dir))


@main.command(short_help="Let parts of this host end their calls, and start anew.")
@click.argument("names", nargs=-1, metavar="[SIDECAR|HOST|EDGE]...")
@SITE_OR_API
@STATE_DIR
@click.option("--edges", is_flag=True, help="The edges of this host, in place of its sidecars.")
@click.option("--wait", "waits", is_flag=True, help="Return when it has no calls any more, and a sidecar is back.")
@click.option("--within", "within_s", type=click.FloatRange(0), help="Wait, for so many seconds at most.")
@click.option("--api", "url", metavar="URL", help="Do it on all hosts of the site, by the API at this address.")
def drain(
    names: tuple[str, ...], site_path: Path, state_dir: Path | None, edges: bool, waits: bool, within_s: float | None,
    url: str | None,
) -> None:  # fmt: skip
    """Let parts of this host take no new calls, and end those that they have; drain_s in site.yaml bounds it.

    A sidecar then ends, and `run` or systemd starts it again. An edge goes on for its calls until you restart it. With
    no name: all sidecars of this host, one after the other. That is a rolling restart, for example after an upgrade.

    \b
      callinteractive drain --site site.yaml
      callinteractive drain --api http://10.0.0.5:8090         all sidecars of the site, one after the other
      callinteractive drain --site site.yaml edge-a --wait && systemctl restart callinteractive-kamailio
    """
    if url is not None:
        if edges or within_s is not None:
            raise click.UsageError("with --api, name the edges; --within and --edges are for this host")
        from cli import whole_site

        sys.exit(whole_site.drain(url, site_path, state_dir, names, waits=waits or not names))
    from cli import drain_command as command
    from cli import units

    site_path = existing(site_path)
    units.join(site_path, state_dir)
    sys.exit(command.run(site_path, names, state_dir, edges=edges, waits=waits, within_s=within_s))


@main.command(hidden=True)
@SITE
@click.option("--run-dir", type=click.Path(file_okay=False, path_type=Path), required=True, help="That of Kamailio.")
def resolve(site_path: Path, run_dir: Path) -> None:
    """Look up the host names of site.yaml, again and again. Kamailio starts this itself."""
    from cli import resolve as command

    sys.exit(command.run(site_path, run_dir))


@main.command(short_help="Fetch ivr.yaml from a web server into a file.")
@click.argument("url")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def fetch(url: str, file: Path) -> None:
    """Fetch ivr.yaml from a web server, check it, and put it into FILE, from where services read it.

    If the server is down or its file has mistakes, the last good FILE stays, and the exit status is 0. It is 1 where
    there is none. What the server asks for is set in the environment: CALLINTERACTIVE_IVR_TOKEN, or
    CALLINTERACTIVE_IVR_USER and CALLINTERACTIVE_IVR_PASSWORD; with _FILE behind the name, the name of a file with it.

    \b
      callinteractive fetch https://config.example.com/ivr.yaml /etc/callinteractive/ivr.yaml
    """
    from cli import provisioning as command

    sys.exit(command.run(url, file))


@main.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
def check(files: tuple[str, ...]) -> None:
    """Check site.yaml, ivr.yaml, XML responses and sounds.

    FILE may be a URL, or "-" for stdin. Default: both files of this folder. The content tells what a file is. Each
    finding is one line, "file:line: path: reason". The exit status is 1 when there are findings; warnings don't change
    it. A site.yaml lets it look for the others' sounds, pools, numbers and ports too; an ivr.yaml, for their jumps.

    \b
      callinteractive check site.yaml ivr.yaml
      curl -sS http://127.0.0.1:8000/menu | callinteractive check site.yaml ivr.yaml -
      callinteractive check sounds/
    """
    from cli import check as command

    sys.exit(command.run(files or DEFAULTS))


@main.command(short_help="Print the JSON Schema of site.yaml or ivr.yaml.")
@click.argument("kind", type=click.Choice(["site", "ivr"]))
def schema(kind: Literal["site", "ivr"]) -> None:
    """Print the JSON Schema of site.yaml or ivr.yaml, by which an editor completes and checks it.

    Name the file in the first line: "# yaml-language-server: $schema=ivr.json". `callinteractive new` has done so.

    \b
      callinteractive schema ivr > ivr.json
    """
    from cli import schema as command

    sys.exit(command.run(kind))


@main.command(short_help="Convert the sounds on a host where only RTPengine runs.")
@SITE_OF_HERE
def sounds(site_path: Path) -> None:
    """Convert the site's sounds into this host's cache, from which RTPengine plays them.

    Sidecars convert the sounds of their own host. RTPengine on another host needs them too: it plays the file of the
    same name. `callinteractive run` and the units do this when RTPengine starts. Run it again after you have added or
    replaced sounds there. Sounds that are converted already cost nothing.

    \b
      callinteractive sounds --site site.yaml
    """
    from cli import sounds as command
    from cli import units

    units.join(site_path)
    sys.exit(command.run(site_path))


@main.command(name="compile", short_help="Compile what runs for each call: calls cost less CPU.")
def compile_() -> None:
    """Compile what runs for each call to machine code, for this machine. Calls then cost less CPU.

    Needs gcc, Python's headers and mypy, and one to three minutes. All parts use the result from their next start on.
    It counts for these sources only: after an update, run it again. CALLINTERACTIVE_PURE=1 in the environment of a
    part makes it run the sources.

    \b
      apt-get install gcc libc6-dev python3-dev && pip install mypy setuptools
      callinteractive compile
    """
    from cli import compile as command

    sys.exit(command.run())


@main.command(short_help="Call your IVR from the keyboard, without a phone.")
@IVR_OR_URL
@click.option("--site", "site_path", type=CONFIG, help="Extensions and sounds; default: site.yaml beside ivr.yaml.")
@click.option("--number", help="The number dialled; default: the first IVR's.")
@click.option("--caller", default="+15550100", show_default=True, help="The caller's number; an extension's: internal.")
@click.option("--name", "caller_name", default="", help="The caller's name.")
@click.option("--digits", help="What the caller dials, one after the other whenever the IVR listens; then hangs up.")
@click.option(
    "--transfer",
    type=click.Choice(["ask", "answered", "busy", "no_answer", "rejected", "failed"]),
    default="ask",
    show_default=True,
    help="How every transfer ends; ask: you are asked (no terminal: answered).",
)
def simulate(**options: Any) -> None:
    """Call your IVR with no phone: the real script, your real web application, digits from the keyboard.

    Prints what the caller would hear, every request and every action. Digits are read from stdin a line at a time;
    an empty line lets the caller's time run out, the end of input (Ctrl-D) or Ctrl-C hangs up.

    \b
      callinteractive simulate --ivr ivr.yaml
      callinteractive simulate --ivr ivr.yaml --caller "+15550123" --digits 1234# --transfer busy
    """
    from cli import simulate as command

    sys.exit(command.run(command.Options(**options)))
