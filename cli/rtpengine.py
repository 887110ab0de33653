"""How RTPengine is started for a site."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

from callinteractive.database import Database
from callinteractive.model import Address, RtpEngine, Site
from cli import media_ports
from cli.process import ProcessSpec
from cli.programs import locate
from sidecar.media.ng_command import NgTimeouts
from sidecar.media.rtpengine import NgClient

LOG_LEVEL = 4
"""Warnings and worse (syslog's numbers): at 5 it writes a line for every call, from 6 on several for every command."""
CORE_LOG_LEVEL = 3
"""Errors: 10.5 warns twice a transfer that it does not know the flag `directional`, which 12.4 and later need."""
CONTROL_LOG_LEVEL = 3
"""Errors: it warns of each command that another thread took before the one that began its call, which we send again."""
ASLEEP_S = 1.4
"""How long it may do nothing at all: its calls go on at the new one, so a short silence is worth it."""
ASLEEP_WITH_REDIS_S = 2.5
"""It may wait for a slow Redis."""
TIMER_SLACK_US = 1000
"""It sends the packets of all sounds that are due within a millisecond in one go: each wake-up costs more than a
packet. A packet every 20 ms may be so much late."""
REDIS_EXPIRES_S = 86_400
"""Longer than any call (`lifetime`): what a lost RTPengine has left there goes away."""
REDIS_ANSWER_MS = 500
PROBE = NgTimeouts(retransmit_s=0.1, total_s=0.5)
LIVES = NgTimeouts(retransmit_s=0.1, total_s=0.3)
"""Of each question whether it still lives. One that is not answered says little; several do."""


def rtpengine_spec(
    site: Site, run_dir: Path, engine: RtpEngine | None = None, state_dir: Path | None = None
) -> ProcessSpec:
    """The process of an RTPengine; None is the first. In user space it needs no root.

    `run_dir` becomes its working directory. `state_dir` remembers its ports, by default `run_dir`.
    """
    engine = engine or site.rtpengines[0]
    return ProcessSpec(
        name="rtpengine" if len(site.rtpengines) == 1 else f"rtpengine-{engine.name}",
        argv=(
            *(locate("rtpengine"), "--config-file=none", "--foreground", "--log-stderr"),
            *(f"--log-level={LOG_LEVEL}", f"--log-level-core={CORE_LOG_LEVEL}"),
            f"--log-level-control={CONTROL_LOG_LEVEL}",
            f"--table={-1 if engine.kernel_table is None else engine.kernel_table}",  # -1: no kernel module
            *(f"--interface={interface}" for interface in engine.interfaces),
            f"--listen-ng={engine.ng}",
            *([] if engine.http_port is None else [f"--listen-http={engine.ng._replace(port=engine.http_port)}"]),
            *(f"--listen-tcp-ng={engine.ng}", "--dtmf-log-ng-tcp"),  # digits, to whoever connects
            "--delete-delay=0",  # ports are free again at once, not after 30 s
            f"--timeout={engine.timeout_s}",  # for a caller who sends nothing, even while a sound plays to it
            f"--num-threads={engine.threads or _threads()}",
            *(_redis_arguments(engine.redis) if engine.redis else ()),
        ),
        env={
            **{"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            # Not among the arguments, which every user of the machine can read.
            **({"RTPENGINE_REDIS_AUTH_PW": engine.redis.password} if engine.redis and engine.redis.password else {}),
        },
        ready=partial(answers_ping, engine.ng.host, engine.ng.port),
        alive=SignsOfLife(engine.ng),
        timer_slack_us=TIMER_SLACK_US,
        asleep_s=ASLEEP_WITH_REDIS_S if engine.redis else ASLEEP_S,
        cwd=run_dir.resolve(),
        more_argv=partial(_ports, engine, _memory(state_dir, run_dir)),
    )


def _redis_arguments(redis: Database) -> tuple[str, ...]:
    """It keeps its calls there, and knows them again after a restart. Calls matter more than that they are kept."""
    return (
        f"--redis={redis.host}:{redis.port}/{redis.number}",
        f"--redis-expires={REDIS_EXPIRES_S}",
        "--no-redis-required",
        # Each command waits for Redis: no more than this, and not at all for a while after several that did.
        f"--redis-cmd-timeout={REDIS_ANSWER_MS}",
        f"--redis-connect-timeout={REDIS_ANSWER_MS}",
        "--redis-allowed-errors=2",
        "--redis-disable-time=10",
    )


def _memory(state_dir: Path | None, run_dir: Path) -> Path:
    with suppress(OSError):
        if state_dir is not None:
            state_dir.mkdir(parents=True, exist_ok=True)
            return state_dir.resolve()
    return run_dir.resolve()


def _ports(engine: RtpEngine, folder: Path) -> tuple[str, ...]:
    ports = media_ports.of_next_start(engine, folder)
    return f"--port-min={ports.first}", f"--port-max={ports.last}"


def _threads() -> int:
    """Half the cores, since the sidecars and Kamailio are on the same machine. With more threads than it has work for
    each packet wakes another one: two instead of one cost 25 % more CPU for a prompt."""
    return max(1, (os.cpu_count() or 2) // 2)


class SignsOfLife:
    """Pings an RTPengine again and again, for one event loop. It keeps its socket while there are answers."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: NgClient | None = None

    async def __call__(self) -> bool:
        """Whether it answers within 0.3 s. Raises nothing.

        Where we have no socket to ask by, it is taken to live: that is our own fault, and it may have calls.
        """
        if self._client is None:
            client = NgClient(*self._address, LIVES)
            try:
                await client.open()
            except OSError:
                return True
            self._client = client
        answers = await self._client.ping()
        if not answers:
            self.close()
        return answers

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


async def answers_ping(host: str, port: int) -> bool:
    """Whether an RTPengine at `host`:`port` answers a ping within half a second. Raises nothing."""
    client = NgClient(host, port, PROBE)
    try:
        await client.open()
        return await client.ping()
    except OSError:
        return False
    finally:
        client.close()
