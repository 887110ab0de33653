"""`callinteractive new`: a folder that runs: site.yaml, ivr.yaml, sounds, a web application, and a README.

The folder belongs to its owner. So it holds copies, and nothing in it refers to where this program is installed.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import click

from callinteractive.spelling import unspecified
from cli import schema
from cli.parts import has_address

TEMPLATES = Path(__file__).parent / "templates"
SITE, IVR, README = "site.yaml", "ivr.yaml", "README.md"
PHONES = ("101", "102")
BARESIP = "softphone"
"""The folder with the account for baresip, which writes the rest of its configuration there."""
NUMBER = "332"
"""What a phone dials to hear the menu."""
PORT = 5060
PASSWORD_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
"""Those that nobody mixes up when they are typed into a phone."""
PASSWORD_LENGTH = 12


@dataclass(frozen=True)
class Template:
    """A web application to begin with.

    Attributes:
        title: what the folder then has, beside IVR and sounds.
        files: those of its own folder, less ivr.yaml.
        needs: what must be installed before; for people.
        setup: shell commands that are needed once; none where there is nothing to prepare.
        command: how it is started; None: there is no web application.
    """

    title: str
    files: tuple[str, ...] = ()
    needs: str = ""
    setup: tuple[str, ...] = ()
    command: str | None = None


KINDS: Mapping[str, Template] = {
    "flask": Template(
        "a web application in Python with Flask",
        ("app.py", "requirements.txt"),
        "Flask, in a virtual environment of its own:",
        ("python3 -m venv .venv", ".venv/bin/pip install -r requirements.txt"),
        ".venv/bin/flask --app app run --port 8000",
    ),
    "php": Template(
        "a web application in PHP",
        ("index.php",),
        "PHP: `apt-get install php-cli`",
        command="php -S 127.0.0.1:8000 index.php",
    ),
    "node": Template(
        "a web application for Node.js",
        ("server.mjs",),
        "Node.js: `apt-get install nodejs`",
        command="node server.mjs",
    ),
    "none": Template("no web application"),
}
"""By the value of --template."""


class NewError(Exception):
    """Why there is no new folder, in words for the person who wants one."""


def run(folder: Path, template: str, address: str) -> int:
    """The exit status: 0 when the folder is there and ready."""
    try:
        passwords = make(folder, template, address)
    except NewError as error:
        click.echo(f"{folder}: {error}", err=True)
        return 1
    except OSError as error:
        click.echo(f"{folder}: {error.strerror or error}", err=True)
        return 1
    if not has_address(address):
        click.echo(f"warning: this machine has no address {address}: `callinteractive run` will need it", err=True)
    click.echo("\n".join(_told(folder, KINDS[template], address, passwords)))
    return 0


def make(folder: Path, template: str, address: str) -> dict[str, str]:
    """Write the folder. Returns the phones' passwords by user name. Raises NewError, OSError."""
    try:
        host = _host(address)
    except ValueError:
        raise NewError(f"--address {address}: must be an IP address of this machine") from None
    if reason := unspecified(address):
        raise NewError(f"--address {address}: {reason}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NewError(f"is there already, and {'not empty' if folder.is_dir() else 'a file'}. Give another name.")
    kind = KINDS[template]
    passwords = {phone: _password() for phone in PHONES}
    sidecars = "{count: 2}" if ip_address(address).version == 4 else '{count: 2, host: "[::1]"}'  # as the edge's
    values = {
        "HOST": host,
        "ADDRESS": address,
        "SIDECARS": sidecars,
        **{f"PASSWORD_{phone}": word for phone, word in passwords.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _fill(folder, template, _texts(kind, host, address), values)
    except OSError:  # a full disk: with half of it there, the next try would be told that it is there already
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return passwords


def _fill(folder: Path, template: str, own_texts: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Write all files into an empty folder. Raises OSError."""
    (folder / "sounds").mkdir()
    for sound in (TEMPLATES / "sounds").iterdir():
        shutil.copyfile(sound, folder / "sounds" / sound.name)
    for name in KINDS[template].files:
        shutil.copyfile(TEMPLATES / template / name, folder / name)
    own = TEMPLATES / template / IVR
    shutil.copyfile(own if own.exists() else TEMPLATES / "common" / IVR, folder / IVR)
    texts = {name: (TEMPLATES / "common" / name).read_text(encoding="utf-8") for name in (SITE, README)}
    (folder / "schema").mkdir()
    schema.write(folder / "schema")
    (folder / BARESIP).mkdir()
    texts[f"{BARESIP}/accounts"] = f"<sip:{PHONES[0]}@@HOST@>;auth_pass=@PASSWORD_{PHONES[0]}@\n"
    for name, text in texts.items():  # they hold passwords
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(_filled(text, {**own_texts, **values}), encoding="utf-8")


def _password() -> str:
    return "".join(secrets.choice(PASSWORD_LETTERS) for _ in range(PASSWORD_LENGTH))


def _host(address: str) -> str:
    """As a URI has it. Raises ValueError."""
    return f"[{address}]" if ip_address(address).version == 6 else address


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def _texts(kind: Template, host: str, address: str) -> dict[str, str]:
    """What the README says otherwise for each template. It may hold other placeholders, so it is filled in first."""
    has_app = kind.command is not None
    return {
        "APP_ROW": f"| `{kind.files[0]}` | your web application: it says what a call does next |\n" if has_app else "",
        "SETUP": _setup(kind),
        "RUN": run_command(kind),
        "HEARD": " Your application is asked for the order, and prints it." if has_app else "",
        "ASKS": ", and asks your real web application" if has_app else "",
        "ELSEWHERE": _elsewhere(host) if ip_address(address).is_loopback else "",
    }


def _setup(kind: Template) -> str:
    if not kind.needs:
        return ""
    steps = ("", "```sh", *kind.setup, "```") if kind.setup else ()
    return "\n".join(("", "## Once", "", f"The application needs {kind.needs}", *steps, ""))


def run_command(kind: Template) -> str:
    """How everything is started, in the folder."""
    return f"callinteractive run --app '{kind.command}'" if kind.command else "callinteractive run"


def _elsewhere(host: str) -> str:
    return (
        f"`{host}` is reached from this machine only. For a phone on another device, write this machine's address in\n"
        "the network in place of it in `site.yaml`, in `sip` and in `rtpengine`, and start again. Its firewall must\n"
        "let UDP 5060 and 30000 to 39999 in.\n"
    )


def _told(folder: Path, kind: Template, address: str, passwords: Mapping[str, str]) -> list[str]:
    phone = PHONES[0]
    steps = (f"cd {shlex.quote(str(folder))}", *kind.setup, run_command(kind))
    return [
        f"{folder} has an IVR, its sounds, and {kind.title}.",
        "",
        *(f"  {step}" for step in steps),
        "",
        'When it prints "ready", give a softphone this account, and dial ' + f"{NUMBER}:",
        "",
        f"  registrar  {_host(address)}, port {PORT}, UDP",
        f"  user name  {phone}",
        f"  password   {passwords[phone]}",
        "",
        f"{folder / README} has every step, and a second phone.",
    ]
