"""registrations.database: how a database is named, and that nothing shows its password."""

from __future__ import annotations

import pytest

from callinteractive.config import load_site
from callinteractive.database import Database, parse
from callinteractive.errors import ConfigError
from callinteractive.model import Site

SITE = """
node: 1
edges:
  - {name: a, listen: ["udp:10.0.0.11:5060"], peer: "10.0.0.11:5066"}
  - {name: b, listen: ["udp:10.0.0.12:5060"]}
extensions: [{number: "0*1", id: 1, password: secret}]
registrations: {database: "DATABASE"}
"""


def site_with(database: str) -> Site:
    return load_site(SITE.replace("DATABASE", database), "site.yaml")


@pytest.mark.parametrize(
    ("text", "database"),
    [
        ("redis://10.0.0.20:6379/0", Database("10.0.0.20", 6379, 0)),
        ("redis://:a.B~9_+=-@redis.example.com:6380/15", Database("redis.example.com", 6380, 15, "a.B~9_+=-")),
    ],
)
def test_how_it_is_named(text: str, database: Database):
    assert parse(text) == database
    assert database.url == text


def test_edges_that_share_one_need_no_peers():
    site = site_with("redis://:hush@10.0.0.20:6379/1")
    assert site.database == Database("10.0.0.20", 6379, 1, "hush")
    assert [edge.peer for edge in site.edges] == [None, None]  # and use none
    assert "hush" not in repr(site)
    assert str(site.database) == "redis://10.0.0.20:6379/1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "redis",
        "mysql://:hush@10.0.0.20:3306/kamailio",
        "postgres://user:hush@10.0.0.20:5432/kamailio",
        "redis://user:hush@10.0.0.20:6379/0",
        "redis://:hush@10.0.0.20/0",
        "redis://:hush@10.0.0.20:6379",
        "redis://:hush@10.0.0.20:0/0",
        f"redis://:hush@{('a' * 60 + '.') * 5}de:6379/0",
        "redis://:hush@10.0.0.20:65536/0",
        "redis://:hush@[::1]:6379/0",
        "redis://:hush/@10.0.0.20:6379/0",
        "redis://:hush@x@10.0.0.20:6379/0",
        "redis://:hush%40@10.0.0.20:6379/0",
        "redis://:hush!g@10.0.0.20:6379/0",
        "rediss://:hush@10.0.0.20:6379/0",
        "redis://:hush@10.0.0.20:6379/0?x=1",
        "redis://:hush@10.0.0.20:6379/٣",
    ],
)
def test_what_is_refused_and_the_finding_shows_no_password(text: str):
    with pytest.raises(ConfigError) as found:
        site_with(text)
    assert "site.yaml:7: registrations.database: " in str(found.value)
    assert "hush" not in str(found.value)
