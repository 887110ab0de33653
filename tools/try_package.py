"""Tries the Debian package and the container image without a container engine: `make test-deb`. Needs root.

Carries out the steps of examples/deploy/Dockerfile in chroots of a Debian release: the package is built in the first
and installed in the second. There it must run, keep its configuration when removed, and leave nothing when purged. Then
systemd is booted there, and the units must do what they promise.

    python3 tools/try_package.py bookworm|trixie
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import try_units

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("CALLINTERACTIVE_CHROOTS", "/var/cache/callinteractive"))
CONFIG = "/etc/callinteractive"
CHECK = f"callinteractive check {CONFIG}/site.yaml {CONFIG}/ivr.yaml"
MACHINE_CA = "/etc/ssl/certs/ca-certificates.crt"
LIMIT_S = 1200
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "PIP_CERT": "/etc/machine-ca.crt",
}


def main() -> int:
    """The exit status."""
    suite = sys.argv[1] if len(sys.argv) > 1 else "bookworm"
    if os.geteuid() != 0:
        print("try_package: root is needed, to make a chroot", file=sys.stderr)
        return 1
    base = make_base(suite)
    stages = build_image(suite, base)
    final = stages[-1]
    try_it(final)
    untried = try_units.boot(final, package_of(final), inside)
    print(f"try_package: all is well on {suite}{untried and '; ' + untried}")
    return 0


def make_base(suite: str) -> Path:
    """A bare system, made once. Under another name first, so that a half-made one is never used."""
    base = CACHE / f"{suite}-base"
    if not base.exists():
        unfinished = base.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        command = ("debootstrap", "--variant=minbase", "--include=ca-certificates", suite, str(unfinished), mirror())
        subprocess.run(command, check=True, timeout=LIMIT_S)
        lines = [f"deb {mirror()} {suite} main", f"deb {mirror()} {suite}-updates main"]
        lines += [f"deb {mirror('Debian-Security')} {suite}-security main"] if mirror("Debian-Security") else []
        (unfinished / "etc/apt/sources.list").write_text("\n".join((*lines, "")))
        unfinished.rename(base)
    return base


def mirror(label: str = "Debian") -> str:
    """Where this machine's apt gets Debian from, by the label that Debian signs it with."""
    question = ("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Label: {label}")
    found = subprocess.run(question, check=True, capture_output=True, text=True).stdout.split()
    return next((uri for uri in found if uri.startswith("http")), "")


def build_image(suite: str, base: Path) -> list[Path]:
    """Carry out the Dockerfile; the root folder of each stage."""
    stages: dict[str, Path] = {}
    for line in instructions((ROOT / "examples/deploy/Dockerfile").read_text()):
        word, _, rest = line.partition(" ")
        began = time.monotonic()
        match word:
            case "FROM":
                name = rest.partition(" AS ")[2] or "final"
                stages[name] = root = CACHE / f"{suite}-try-{name}"
                shutil.rmtree(root, ignore_errors=True)
                subprocess.run(("cp", "-a", "--reflink=auto", str(base), str(root)), check=True)
                shutil.copy(MACHINE_CA, root / "etc/machine-ca.crt")  # of a proxy, perhaps, that pip has to trust
                policy = root / "usr/sbin/policy-rc.d"  # Debian's images have it: no service starts in a container
                policy.write_text("#!/bin/sh\nexit 101\n")
                policy.chmod(0o755)
            case "COPY":
                copy(rest, root, stages)
            case "RUN":
                inside(root, rest)
            case "USER" | "ENTRYPOINT":
                pass
            case _:
                raise SystemExit(f"try_package: {word} is not known here")
        print(f"try_package: {time.monotonic() - began:5.0f} s  {line[:90]}", flush=True)
    return list(stages.values())


def instructions(dockerfile: str) -> list[str]:
    lines = re.sub(r"\\\n\s*", "", dockerfile).splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def copy(arguments: str, root: Path, stages: dict[str, Path]) -> None:
    words = arguments.split()
    if words[0].startswith("--from="):
        source = stages[words.pop(0).removeprefix("--from=")]
        for file in source.glob(words[0].lstrip("/")):
            shutil.copy(file, root / words[1].lstrip("/"))
        return
    listed = ("git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        target = root / words[1].lstrip("/") / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(ROOT / name):
            shutil.copy2(ROOT / name, target, follow_symlinks=False)


def inside(root: Path, command: str, *, network: bool = True, user: str = "root", fails: bool = False) -> str:
    """Run a shell command in the chroot; what it prints. `network` False is loopback only."""
    mounts = 'mount -t proc proc "$1/proc"; mount --rbind /dev "$1/dev"; mount -t tmpfs tmpfs "$1/run"; '
    loopback = "" if network else "ip link set lo up; "
    script = f'{mounts}{loopback}exec chroot --userspec="$2" "$1" sh -c "$3"'
    namespaces = ("unshare", "--mount", "--pid", "--fork", "--kill-child", *(() if network else ("--net",)))
    done = subprocess.run(
        (*namespaces, "sh", "-c", script, "sh", str(root), user, command),
        env=ENVIRONMENT,
        timeout=LIMIT_S,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if (done.returncode != 0) is not fails:
        raise SystemExit(f"{done.stdout[-6000:]}\ntry_package: status {done.returncode}: {command}")
    return done.stdout


def package_of(root: Path) -> Path:
    """The one that is installed in the last stage."""
    return next((root.parent / root.name.replace("final", "build") / "src/build").glob("*.deb"))


def try_it(root: Path) -> None:
    """What the package promises."""
    enabled = root / "etc/systemd/system/multi-user.target.wants/callinteractive.target"
    assert enabled.is_symlink(), "the target is not enabled"
    assert "callinteractive" in inside(root, "getent passwd callinteractive")
    site = root / CONFIG.lstrip("/") / "site.yaml"
    assert oct(site.stat().st_mode)[-3:] == "640", "phones' passwords can be read by all"
    inside(root, CHECK, user="callinteractive")
    environment = (site.parent / "environment").read_text()
    assert re.fullmatch(r"CALLINTERACTIVE_KEY=[0-9a-f]{32}\n", environment), environment

    files = f"--site {CONFIG}/site.yaml --ivr {CONFIG}/ivr.yaml --run-dir /tmp/run"
    told = inside(root, f"CACHE_DIRECTORY=/tmp/cache timeout 30 callinteractive run {files}", network=False, fails=True,
                  user="callinteractive")  # fmt: skip
    assert "\nready sip:127.0.0.1:5060\n" in f"\n{told}", told[-3000:]

    with site.open("a") as file:
        file.write("# edited here\n")
    inside(root, "apt-get remove -y -q callinteractive")
    assert "# edited here" in site.read_text(), "removing it took the configuration"
    assert not (root / "usr/lib/callinteractive").exists(), "removing it left code"
    assert not list(root.glob("lib/systemd/system/callinteractive*")), "removing it left units"
    package = package_of(root)
    shutil.copy(package, root / "tmp")
    inside(root, f"dpkg -i --force-confdef --force-confold /tmp/{shlex.quote(package.name)}")
    assert "# edited here" in site.read_text(), "installing it again took the configuration"
    assert (site.parent / "environment").read_text() == environment, "installing it again made another key"
    inside(root, "apt-get purge -y -q callinteractive")
    assert not site.parent.exists(), f"purging it left {sorted(path.name for path in site.parent.iterdir())}"
    assert not enabled.is_symlink(), "purging it left the target enabled"


if __name__ == "__main__":
    sys.exit(main())
