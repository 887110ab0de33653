"""Phones that register: proof by digest, calls to them and from them (A14)."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from callinteractive.headers import CallHeader
from tests.integration import kemi_support as sip
from tests.integration.kemi_support import Endpoint, Message, RunningKamailio
from tests.integration.kemi_world import SITE, World, refuse

pytestmark = pytest.mark.asyncio(loop_scope="module")

_ANYWHERE = itertools.count(101)
"""Each test has its own source address, because pike and the locks count by source."""
REGISTRAR = f"sip:{sip.KAMAILIO[0]}:{sip.KAMAILIO[1]}"
NUMBER, PASSWORD = "000*399", "secret"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kamailio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningKamailio]:
    async with sip.running_kamailio(tmp_path_factory.mktemp("kamailio"), SITE) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def phone(kamailio: RunningKamailio) -> AsyncIterator[Endpoint]:
    del kamailio
    async with Endpoint.at(f"{sip.NET}.{next(_ANYWHERE)}", 22095) as endpoint:
        yield endpoint


def digest(challenge: str, user: str, password: str, method: str, uri: str) -> str:
    """RFC 2617 3.2.2, qop=auth."""
    values = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge))

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    secret = md5(f"{user}:{values['realm']}:{password}")
    response = md5(f"{secret}:{values['nonce']}:00000001:c:auth:{md5(f'{method}:{uri}')}")
    return (
        f'Digest username="{user}", realm="{values["realm"]}", nonce="{values["nonce"]}", uri="{uri}", '
        f'qop=auth, nc=00000001, cnonce="c", response="{response}", algorithm=MD5'
    )


async def register(
    phone: Endpoint,
    number: str = NUMBER,
    user: str = NUMBER,
    password: str = PASSWORD,
    expires: str = "300",
    at: tuple[str, int] = sip.KAMAILIO,
    **more: str,
) -> Message:
    """The answer to a REGISTER with credentials. If the first REGISTER got no challenge: that answer."""
    who = f"<sip:{number}@{sip.KAMAILIO[0]}>"
    fields = {"From": f"{who};tag=1", "To": who, "Expires": expires, **more}
    phone.send(phone.request("REGISTER", REGISTRAR, **fields), at)
    answer = await phone.receive()
    if answer.status != 401:
        return answer
    proof = digest(answer.get("WWW-Authenticate"), user, password, "REGISTER", REGISTRAR)
    phone.send(phone.request("REGISTER", REGISTRAR, **fields, Authorization=proof), at)
    return await phone.receive()


async def test_registered_phone_rings_until_it_leaves(phone: Endpoint, world: World) -> None:
    assert (await world.refused(world.invite("399"))).status == 404
    registered = await register(phone)
    assert registered.status == 200
    assert f"<sip:me@{phone.host}:{phone.port}>" in registered.get("Contact")
    for dialled in ("399", NUMBER):
        invite = world.invite(dialled)
        got = await phone.receive_only("INVITE")
        assert got.uri == f"sip:me@{phone.host}:{phone.port}"
        await refuse(phone, got)
        assert (await world.refused(invite)).status == 486
    assert (await register(phone, expires="0")).status == 200
    assert (await world.refused(world.invite("399"))).status == 404


async def test_a_phone_with_a_new_port_each_time_takes_the_place_of_its_oldest(phone: Endpoint, world: World) -> None:
    """A phone that connects anew has another port, and can't take back the one before. Five are kept."""
    contacts = [f"<sip:me@{phone.host}:{port}>" for port in (*range(30000, 30006), phone.port)]
    for contact in contacts:
        answer = await register(phone, Contact=contact)
        assert answer.status == 200
        assert contact in answer.get("Contact")
    kept = [f"{part.partition('>')[0].strip()}>" for part in answer.get("Contact").split(",")]
    assert sorted(kept) == sorted(contacts[2:])
    world.invite("399")
    await phone.receive_only("INVITE")
    gone = f"<sip:me@{phone.host}:1>"  # who leaves needs no place
    assert (await register(phone, Contact=gone, Expires="0")).get("Contact").count("sip:") == 5
    assert (await register(phone, Contact=f"{gone};expires=0")).get("Contact").count("sip:") == 5
    assert (await register(phone, Contact="*", expires="0")).status == 200


@pytest.mark.parametrize(
    ("number", "user", "password", "status"),
    [
        (NUMBER, NUMBER, "wrong", 401),
        (NUMBER, "000*300", PASSWORD, 401),
        ("399", "399", PASSWORD, 200),
        ("000*300", "000*300", "", 401),
        ("000*777", "000*777", "", 401),
        ("alice", "alice", "", 401),
    ],
)
async def test_proof(phone: Endpoint, number: str, user: str, password: str, status: int) -> None:
    assert (await register(phone, number, user, password)).status == status
    if status == 200:
        assert (await register(phone, number, user, password, expires="0")).status == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Proxy-Authorization", 'Digest username="399", realm="of another"'),
        ("Proxy-Authorization", "Basic eDp5"),
        ("PROXY-authorization ", "x"),
        ("Proxy-Authorization", "\r\n "),
    ],
)
async def test_a_phone_that_would_prove_itself_to_a_proxy_too_is_registered(
    phone: Endpoint, name: str, value: str
) -> None:
    for expires in ("60", "0"):
        assert (await register(phone, expires=expires, **{name: value})).status == 200


def proved(phone: Endpoint, challenge: Message, **more: str) -> Message:
    """A REGISTER with the answer to that challenge."""
    who = f"<sip:{NUMBER}@{sip.KAMAILIO[0]}>"
    proof = digest(challenge.get("WWW-Authenticate"), NUMBER, PASSWORD, "REGISTER", REGISTRAR)
    return phone.request("REGISTER", REGISTRAR, From=f"{who};tag=1", To=who, Authorization=proof, **more)


async def test_rfc_3261_17_2_2_a_register_that_comes_again_gets_its_answer_again(phone: Endpoint) -> None:
    """Its 200 was lost. Its nonce counts no more, and phones take another 401 for a wrong password."""
    request = proved(phone, await challenged(phone))
    for _ in range(3):
        phone.send(request)
        assert (await phone.receive()).status == 200
    assert (await register(phone, expires="0")).status == 200


async def test_a_nonce_that_counts_no_more_is_called_stale(phone: Endpoint) -> None:
    """RFC 7616 3.3: else phones that use one again ask their user for another password."""
    challenge = await challenged(phone)
    assert "stale" not in challenge.get("WWW-Authenticate")
    assert (await register(phone, password="wrong")).get("WWW-Authenticate").count("stale") == 0
    for status in (200, 401):
        phone.send(proved(phone, challenge))
        answer = await phone.receive()
        assert answer.status == status
    assert re.search(r"\bstale=true\b", answer.get("WWW-Authenticate"))
    async with Endpoint.at(f"{sip.NET}.173", phone.port) as moved:
        moved.send(proved(moved, await challenged(phone)))
        assert "stale=true" in (await moved.receive(401)).get("WWW-Authenticate")
    assert (await register(phone, expires="0")).status == 200


async def test_rfc_3261_10_3_what_is_refused_takes_no_place(phone: Endpoint) -> None:
    """Six contacts at once: the account's other phone stays registered."""
    assert (await register(phone)).status == 200
    own = f"<sip:me@{phone.host}:{phone.port}>"
    many = ", ".join(f"<sip:me@{phone.host}:{port}>" for port in range(30000, 30006))
    assert (await register(phone, Contact=many)).status == 503
    assert own in (await register(phone, Contact="")).get("Contact")
    assert (await register(phone, expires="0")).status == 200


async def test_rfc_3261_10_3_a_star_stands_alone(phone: Endpoint) -> None:
    assert (await register(phone)).status == 200
    own = f"<sip:me@{phone.host}:{phone.port}>"
    for contact in (f"*, {own}", f"{own}, *"):
        assert (await register(phone, Contact=contact, expires="0")).status == 400
    assert own in (await register(phone, Contact="")).get("Contact")
    assert (await register(phone, Contact="*", expires="0")).status == 200


async def test_a_contact_s_name_may_be_in_any_code_page(phone: Endpoint) -> None:
    own = f'"M\udcfcller" <sip:me@{phone.host}:{phone.port}>'
    assert (await register(phone, Contact=own)).status == 200
    assert (await register(phone, Contact="*", expires="0")).status == 200


async def test_call_from_a_registered_extension_needs_proof(phone: Endpoint, world: World) -> None:
    who = f"<sip:{NUMBER}@{sip.KAMAILIO[0]}>;tag=7"
    invite = phone.invite("332", From=who)
    phone.send(invite)
    challenged = await phone.receive_only(407)
    phone.send(sip.ack_of_failure(invite, challenged))
    proof = digest(challenged.get("Proxy-Authenticate"), NUMBER, PASSWORD, "INVITE", invite.uri)
    world.sidecars[1].inbox = world.sidecars[0].inbox
    phone.send(phone.invite("332", From=who, Proxy_Authorization=proof))
    got = await world.sidecar.receive("INVITE")
    facts = CallHeader.parse(got.get(CallHeader.NAME)).facts
    assert (facts.caller_extension, facts.caller_extension_id) == (NUMBER, 399)
    assert not got.get("Proxy-Authorization")
    world.sidecar.send(sip.reply(got, "486 Busy Here", tag="t"))
    await phone.receive(486)


async def test_nobody_learns_which_extensions_there_are(phone: Endpoint) -> None:
    """One with a password, one without, and one that does not exist are answered alike."""
    answers = []
    for user in (NUMBER, "000*300", "000*777", "777"):
        invite = phone.invite("332", From=f"<sip:{user}@x>;tag=1")
        phone.send(invite)
        answers.append(await phone.receive_only(407))
        phone.send(sip.ack_of_failure(invite, answers[-1]))
    assert len({tuple(name for name, _ in answer.headers) for answer in answers}) == 1


async def test_who_can_be_no_extension_is_not_challenged(phone: Endpoint) -> None:
    for user in ("stranger", "+15550100"):
        invite = phone.invite("332", From=f"<sip:{user}@x>;tag=1")
        phone.send(invite)
        phone.send(sip.ack_of_failure(invite, await phone.receive_only(403)))


async def challenged(phone: Endpoint, number: str = NUMBER, **fields: str) -> Message:
    who = f"<sip:{number}@{sip.KAMAILIO[0]}>"
    phone.send(phone.request("REGISTER", REGISTRAR, From=f"{who};tag=1", To=who, **fields))
    return await phone.receive()


async def test_credentials_count_once_and_from_one_address(phone: Endpoint, world: World) -> None:
    """Whoever records a REGISTER cannot use it again (S10)."""
    who = f"<sip:{NUMBER}@{sip.KAMAILIO[0]}>"
    challenge = (await challenged(phone)).get("WWW-Authenticate")
    proof = digest(challenge, NUMBER, PASSWORD, "REGISTER", REGISTRAR)
    fields = {"From": f"{who};tag=1", "To": who, "Expires": "300", "Authorization": proof}
    async with Endpoint.at(f"{sip.NET}.71", 22096) as thief:
        thief.send(thief.request("REGISTER", REGISTRAR, **fields))
        assert (await thief.receive()).status == 401  # seen before its owner has used it
        challenge = (await challenged(phone)).get("WWW-Authenticate")
        fields["Authorization"] = digest(challenge, NUMBER, PASSWORD, "REGISTER", REGISTRAR)
        phone.send(phone.request("REGISTER", REGISTRAR, **fields))
        assert (await phone.receive()).status == 200
        for sender in (thief, phone):
            for contact in (f"<sip:me@{sender.host}:{sender.port}>", "*"):
                expires = "0" if contact == "*" else "300"
                sender.send(sender.request("REGISTER", REGISTRAR, **{**fields, "Contact": contact, "Expires": expires}))
                assert (await sender.receive()).status == 401
    world.invite("399")
    got = await phone.receive_only("INVITE")
    assert got.uri == f"sip:me@{phone.host}:{phone.port}"
    await refuse(phone, got)
    assert (await register(phone, expires="0")).status == 200


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:+900123@{carrier}>",
        "<sip:me@{phone}>, <sip:me@{carrier}>",
        "<sip:me@carrier.example>",
        "<sip:me@8.8.8.8>",
        "<sips:me@{phone}>",
        "<tel:+900123>",
        "<sip:me@{phone};maddr={carrier}>",
        "<sip:me@{phone};transport=tls>",
        '"{phone}" <sip:me@{carrier}>',
        "<sip:{phone}@{carrier}>",
        "<sip:me@{sidecar}>",
        "<sip:me@127.0.0.1>",
        "<mailto:me@{phone}>",
        "<sip:{carrier};x=@{phone}>, <sip:{carrier}@x@{phone}>",
        "<sip:me@{phone};alias=1.2.3.4~5060~1>",
    ],
)
async def test_a_phone_registers_nobody_but_itself(phone: Endpoint, world: World, contact: str) -> None:
    """Otherwise a phone could send its calls anywhere, at our cost (S11)."""
    hosts = {"carrier": sip.TRUNK, "phone": phone.host, "sidecar": sip.SIDECAR}
    for name in ("Contact", "m"):  # RFC 3261 7.3.3
        written = {"Contact": "", name: contact.format(**hosts)}
        assert (await register(phone, **written)).status == 403
    assert (await world.refused(world.invite("399"))).status == 404


async def test_guesses_are_slowed_and_the_owner_is_not_locked_out(phone: Endpoint, kamailio: RunningKamailio) -> None:
    """A trunk's address does not exempt it (S12)."""
    async with Endpoint.at(sip.TRUNK, 22097) as guesser:
        statuses = [(await register(guesser, password=f"guess{n}")).status for n in range(12)]
        assert statuses == [401] * 5 + [503] * 7
        refusal = await register(guesser)
        assert refusal.status == 503
        assert 0 < int(refusal.get("Retry-After")) <= 4
        await kamailio.logged(sip.TRUNK, "wrong passwords", NUMBER)
        assert (await register(phone, expires="0")).status == 200
        unknown = [(await register(guesser, "000*778", "000*778", f"guess{n}")).status for n in range(7)]
        assert unknown == [401] * 5 + [503] * 2


async def test_the_first_wrong_password_of_a_phone_is_in_the_log(kamailio: RunningKamailio) -> None:
    """Who sets up a phone looks there. A phone that has not been asked yet leaves no line."""
    async with Endpoint.at(f"{sip.NET}.174", 22098) as phone:
        assert (await register(phone, password="wrong")).status == 401
        await kamailio.logged(f"refused 401 Wrong Password for '{NUMBER}': REGISTER from {phone.host}:22098")
        assert (await register(phone, "000*779", "000*779", "wrong")).status == 401
        await kamailio.logged(f"refused 401 Wrong Password for '000*779': REGISTER from {phone.host}:22098")
        assert len([line for line in kamailio.log if phone.host in line]) == 2


async def test_a_forged_source_uses_up_nobodys_tries(phone: Endpoint) -> None:
    """An attacker with a forged source address never sees a valid nonce, so its requests don't count as guesses."""
    challenge = (await challenged(phone)).get("WWW-Authenticate")
    proof = digest(challenge, NUMBER, "guess", "REGISTER", REGISTRAR)
    async with Endpoint.at(f"{sip.NET}.73", 22098) as victim:
        assert (await register(victim, expires="0")).status == 200
        for _ in range(8):
            assert (await challenged(victim, Authorization=proof)).status == 401
        assert (await register(victim, expires="0")).status == 200


async def test_guesses_at_many_accounts_are_slowed(phone: Endpoint) -> None:
    """A phone that has registered from the same address is still served."""
    async with Endpoint.at(f"{sip.NET}.72", 22098) as guesser, Endpoint.at(f"{sip.NET}.72", 22099) as owner:
        assert (await register(owner, expires="0")).status == 200
        accounts = [f"000*{n}" for n in range(800, 822)]
        statuses = [(await register(guesser, account, account, "guess")).status for account in accounts]
        assert statuses == [401] * 20 + [503] * 2
        assert (await register(owner, expires="0")).status == 200
    assert (await register(phone, expires="0")).status == 200
