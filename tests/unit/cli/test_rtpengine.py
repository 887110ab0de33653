"""How RTPengine is started, with the calls that it keeps in Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from callinteractive.config import load_site
from callinteractive.errors import ConfigError
from cli.rtpengine import rtpengine_spec

SITE = """\
node: 1
sip: {{listen: ['udp:127.0.0.1:5060']}}
rtpengine: {{redis: "{url}"}}
"""
TWO = """\
node: 1
sip: {listen: ['udp:127.0.0.1:5060']}
rtpengines:
  - {name: a, ng: "10.0.0.1:22222", interface: 10.0.0.1, redis: "redis://10.0.0.9:6379/1"}
  - {name: b, ng: "10.0.0.2:22222", interface: 10.0.0.2, redis: "redis://10.0.0.9:6379/NUMBER"}
"""


def test_no_argument_shows_the_password(tmp_path: Path) -> None:
    site = load_site(SITE.format(url="redis://:Secret-1@10.0.0.9:6379/4"), "site.yaml")
    spec = rtpengine_spec(site, tmp_path)
    assert "--redis=10.0.0.9:6379/4" in spec.command()
    assert "--no-redis-required" in spec.command()
    assert "Secret-1" not in " ".join(spec.command())
    assert spec.env["RTPENGINE_REDIS_AUTH_PW"] == "Secret-1"
    assert "Secret-1" not in repr(site)


def test_without_it_there_is_nothing_of_redis(tmp_path: Path) -> None:
    spec = rtpengine_spec(load_site("node: 1\nsip: {listen: ['udp:127.0.0.1:5060']}\n", "site.yaml"), tmp_path)
    assert "redis" not in " ".join((*spec.command(), *spec.env))


@pytest.mark.parametrize("url", ["sqlite", "redis://10.0.0.9", "postgres://x/1", "redis://:p w@10.0.0.9:6379/1"])
def test_a_url_that_is_none_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match=r"rtpengine\.redis: (must be like|is not supported)"):
        load_site(SITE.format(url=url), "site.yaml")


def test_each_has_a_database_of_its_own() -> None:
    load_site(TWO.replace("NUMBER", "2"), "site.yaml")
    with pytest.raises(ConfigError, match=r"redis .*twice|redis://10\.0\.0\.9:6379/1"):
        load_site(TWO.replace("NUMBER", "1"), "site.yaml")
