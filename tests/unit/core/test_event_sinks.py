"""The key `events` of site.yaml."""

from __future__ import annotations

import pytest

from callinteractive.config import load_site
from callinteractive.errors import ConfigError
from callinteractive.event_sinks import Events, EventsHttp
from callinteractive.secret import Secret

SITE = "node: 1\nsip: {listen: ['udp:127.0.0.1:5060']}\n"
KEY = "whsec_a2tra2tra2tra2tra2tra2tra2tra2tr"


def test_there_are_no_events_where_nobody_asks_for_them():
    assert load_site(SITE, "site.yaml").events == Events()


def test_all_keys_are_read():
    site = load_site(
        SITE + "events:\n  file: log/events.jsonl\n  stdout: yes\n  bodies: yes\n  http:\n"
        f"    {{url: 'https://h/e?a=b', secrets: [{KEY}, {{env: KEY}}], only: [call.ended], max_queue_mb: 5}}\n",
        "site.yaml",
    )
    http = EventsHttp("https://h/e?a=b", (Secret(KEY), Secret(variable="KEY")), ("call.ended",), 5)
    assert site.events == Events("log/events.jsonl", True, True, http)
    assert KEY not in repr(site.events)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("{fil: a}", "events.fil: unknown key 'fil'"),
        ("{file: ''}", "events.file: needs the path of a file"),
        ("{http: 'https://h/'}", "events.http: write http: {url:"),
        ("{http: {secrets: []}}", "events.http.url: is missing"),
        ("{http: {url: 'ftp://h/'}}", "must start with http:// or https://"),
        ("{http: {url: 'http://h/?c=$CallID'}}", "has no variables"),
        ("{http: {url: 'http://h/', only: [call.end]}}", "events.http.only[0]: must be"),
        ("{http: {url: 'http://h/', secrets: [short]}}", "events.http.secrets[0]: is not base64"),
        ("{http: {url: 'http://h/', secrets: [~]}}", "events.http.secrets[0]: is empty"),
        ("{http: {url: 'http://h/', max_queue_mb: 0}}", "events.http.max_queue_mb: must be"),
        ("yes", "must be a mapping"),
    ],
)
def test_what_is_wrong_is_told(written, reason):
    with pytest.raises(ConfigError) as told:
        load_site(SITE + f"events: {written}\n", "site.yaml")
    assert reason in str(told.value)
