"""Kamailio's statistics, as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from cli.kamailio_figures import KamailioFigures, statistics_in

SAID = """\
core:rcv_requests_invite = 12
registrar:max-contacts = 5
usrloc:location-users = 3
shmem:free_size = 250000000
"""


async def shown(said: str) -> dict[str, float]:
    async def ask(*command: str) -> str:
        assert command == ("stats.get_statistics", "all")
        return said

    figures, registry = KamailioFigures(ask), CollectorRegistry()
    registry.register(figures)
    await figures.refresh()
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


async def test_all_are_shown() -> None:
    assert await shown(SAID) == {
        "callinteractive_kamailio_up": 1,
        "kamailio_core_rcv_requests_invite": 12,
        "kamailio_registrar_max_contacts": 5,
        "kamailio_usrloc_location_users": 3,
        "kamailio_shmem_free_size": 250_000_000,
    }


async def test_kamailio_does_not_answer() -> None:
    assert await shown("ERROR: connect_unix_sock: connect(/run/ctl): No such file or directory [2]\n") == {
        "callinteractive_kamailio_up": 0
    }


def test_what_is_no_statistic_is_left_out() -> None:
    said = "error: 500 - x\ncore:a b = 1\ncore:x = 1.5\ncore:y = \ncore:é = 1\ncore:ok = -1\n{\n\tuptime: 3\n}\n"
    assert statistics_in(said) == {"core_ok": -1}
