"""The phones of a site, from what Kamailio shows of its registrations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from callinteractive.config import load_site
from cli import kamcmd
from cli.api.phones import MOST_ASKED, Phones, parse
from sidecar.http_api import ApiError
from tests.unit.cli.api.test_server import is_as_described

SITE = """
node: 1
sip: {listen: ["udp:127.0.0.1:5060"]}
extensions:
  - {number: "000*306", id: 134, contact: "sip:306@127.0.0.3:5090"}
  - {number: "000*308", id: 136, password: secret}
  - {number: "000*309", id: 137, password: secret}
"""
CONTACT = """\
\t\t\t\t\t\tContact: {{
\t\t\t\t\t\t\tAddress: {address}
\t\t\t\t\t\t\tExpires: {expires}
\t\t\t\t\t\t\tUser-Agent: {agent}
\t\t\t\t\t\t\tReceived: {received}
\t\t\t\t\t\t\tPath: [not set]
\t\t\t\t\t\t\tSocket: udp:127.0.0.1:5060
\t\t\t\t\t\t}}
"""


def contact(address: str, expires: str = "600", agent: str = "n/a", received: str = "sip:10.0.0.9:40000") -> str:
    return CONTACT.format(address=address, expires=expires, agent=agent, received=received)


def record(number: str, *contacts: str) -> str:
    return f"\t\t\t\t\tAoR: {number}\n\t\t\t\t\tHashID: 9\n\t\t\t\t\tContacts: {{\n{''.join(contacts)}\t\t\t\t\t}}\n"


def dump(*records: str) -> str:
    return "{\n\tDomains: {\n\t\tDomain: {\n" + "".join(records) + "\t\t}\n\t}\n}\n"


Says = Callable[..., Phones]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Says:
    """A site whose edges say this, by their names."""

    def make(site: str = SITE, **edges: str) -> Phones:
        asked: list[tuple[str, ...]] = []

        async def ask(run_dir: Path, *command: str) -> str:
            asked.append(command)
            return edges[run_dir.name]

        monkeypatch.setattr(kamcmd, "ask", ask)
        loaded = load_site(site, "site.yaml")
        phones = Phones(lambda: loaded, lambda: {name: Path(name) for name in edges})
        phones.asked = asked  # type: ignore[attr-defined]
        return phones

    return make


async def test_all_extensions_with_their_phones(says: Says):
    two = contact("sip:desk@10.0.0.9:5060", agent="Linphone: 5"), contact("sip:b@c", "5")
    told = await says(a=dump(record("000*308", *two))).told()
    is_as_described("/v1/phones", "get", 200, told)
    assert told["phones"] == [
        {"extension": "000*306", "id": 134, "kind": "fixed", "contacts": [{"uri": "sip:306@127.0.0.3:5090"}]},
        {
            "extension": "000*308", "id": 136, "kind": "registers", "contacts": [
                {
                    "uri": "sip:desk@10.0.0.9:5060", "expires_s": 600, "user_agent": "Linphone: 5",
                    "received": "sip:10.0.0.9:40000", "socket": "udp:127.0.0.1:5060",
                },
                {"uri": "sip:b@c", "expires_s": 5, "received": "sip:10.0.0.9:40000", "socket": "udp:127.0.0.1:5060"},
            ],
        },
        {"extension": "000*309", "id": 137, "kind": "registers", "contacts": []},
    ]  # fmt: skip


async def test_what_several_edges_know_is_told_once(says: Says):
    both = record("000*308", contact("sip:a@b"))
    told = await says(a=dump(both), b=dump(both, record("000*309", contact("sip:c@d"))), c="no answer").told()
    assert [len(phone["contacts"]) for phone in told["phones"]] == [1, 1, 1]


@pytest.mark.parametrize(("expires", "shown"), [("permanent", 1), ("expired", 0), ("deleted", 0), ("0", 1)])
async def test_a_registration_that_is_over_is_not_told(says: Says, expires: str, shown: int):
    told = await says(a=dump(record("000*308", contact("sip:a@b", expires)))).told()
    assert len(told["phones"][1]["contacts"]) == shown


async def test_where_no_edge_answers(says: Says):
    with pytest.raises(ApiError, match="edge a: error: 500") as caught:
        await says(a="error: 500 - no").told()
    assert caught.value.status == 503
    with pytest.raises(ApiError, match="no edge of the site runs on this host"):
        await says().told()
    site = "\n".join(line for line in SITE.splitlines() if "password" not in line)
    assert len((await says(site).told())["phones"]) == 1, "and where none registers nobody is asked"


async def test_where_a_database_has_them_each_extension_is_looked_up(says: Says):
    site = SITE + 'registrations: {database: "redis://127.0.0.1:6379/0"}\n'
    phones = says(site, a="error: 404 - AOR not found")
    assert [phone["contacts"] for phone in (await phones.told())["phones"]][1:] == [[], []]
    assert [("ul.lookup", "location", number) for number in ("s:000*308", "s:000*309")] == phones.asked  # type: ignore[attr-defined]
    with pytest.raises(ApiError, match="no answer"):
        await says(site, a="").told()
    more = "".join(f'  - {{number: "000*{1000 + n}", id: {1000 + n}, password: x}}\n' for n in range(MOST_ASKED))
    with pytest.raises(ApiError, match="look into redis://127"):
        await says(SITE + more + 'registrations: {database: "redis://127.0.0.1:6379/0"}\n', a="").told()


def test_a_phone_cannot_invent_another_one():
    """What phones choose is one value of one line."""
    said = dump(record("000*308", contact("sip:a@b", agent="x AoR: 000*309 Address: sip:evil@e", received="AoR: 1")))
    assert parse(said).keys() == {"000*308"}
    assert [each["Address"] for each in parse(said)["000*308"]] == ["sip:a@b"]
    assert parse("") == parse("Expires: 5\n") == {}
