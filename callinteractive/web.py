"""How an IVR asks its web application: frozen data of the key `web` (W1, W2, R7, R8). `web_file` reads it from YAML."""

from __future__ import annotations

from dataclasses import dataclass

from callinteractive.secret import Secret

WAIT_SOUND_AFTER_S = 1.0
"""How long an answered call is silent before `wait_sound` begins. Most applications have answered by then."""


@dataclass(frozen=True, slots=True)
class Web:
    """`secrets` sign each request, side by side while they are rotated; `headers` are sent with it.

    `retries`: how often a request that failed is sent again. `fallback_url` is asked when that was in vain. Both end
    after `deadline_s` seconds, counted from the first try; None: twice the time of one request.
    `wait_sound`: what a caller hears while the application thinks.
    `allow_hosts`: the only hosts that are asked, `*.` before a domain for all below it; empty: any.
    `allows_private`: whether a host may have an address that is not of the public Internet.
    `breaks`: whether an application that was silent for the time of a request is left alone for a while.
    """

    secrets: tuple[Secret, ...] = ()
    headers: tuple[tuple[str, Secret], ...] = ()
    retries: int = 0
    fallback_url: str | None = None
    deadline_s: float | None = None
    wait_sound: str | None = None
    allow_hosts: tuple[str, ...] = ()
    allows_private: bool = True
    breaks: bool = True

    def allows(self, host: str) -> bool:
        """Whether a host may be asked, by its name or address as it stands in the URL."""
        host = host.lower().removesuffix(".")
        return not self.allow_hosts or any(
            host == allowed or (allowed.startswith("*.") and host.endswith(allowed[1:])) for allowed in self.allow_hosts
        )


NOTHING = Web()
