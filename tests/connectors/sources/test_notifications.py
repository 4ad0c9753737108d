"""Every source's notifications as its vendor documents them, beside what we find in them and what our twin sends.

`notifications/<source>.json`, written as the answers are (`test_answers.py`) from the vendor's own words, never from our code:

    documented: where it stands, its version, and the kind of proof, as for answers.
    headers: those that the vendor sends. `query`: parameters likewise. `form`: bodies are fields of a form, not JSON.
    notifications: one for each thing that a source tells apart, and some that it leaves alone:
        headers: those that say what it is.
        body: the message, decrypted where it comes encrypted.
        delivery: what names it, where the vendor's name for it is used.
        tells: what is to be pulled: `streams`, the `keys` of the records, and whether they are gone: `is_deletion`, `merged_into`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from connectors.declare import Source
from connectors.registry import source, sources
from connectors.sandbox.generate import generate
from connectors.sandbox.notify import env
from connectors.sandbox.server import Sandbox
from connectors.webhook import Event, Incoming, Webhook

_FOLDER = Path(__file__).with_name("notifications")
_KINDS = {"recorded", "contract", "documentation"}
_ADDRESS = "http://hub.example/hooks/{}"


@dataclass(frozen=True)
class Told:
    """One documented notification."""

    source: Source
    number: int
    said: Mapping[str, Any]
    is_form: bool

    def __str__(self) -> str:
        return f"{self.source.name}.{self.number}"

    @property
    def webhook(self) -> Webhook:
        assert self.source.webhook is not None
        return self.source.webhook

    def message(self, body: Any) -> bytes:
        """A body as it is sent."""
        return urlencode(body).encode() if self.is_form else json.dumps(body, ensure_ascii=False).encode()

    def events(self, body: Any) -> list[Event]:
        headers = {name.lower(): value for name, value in self.said.get("headers", {}).items()}
        return self.webhook.read(self.message(body), headers.get(self.webhook.topic.removeprefix("header:")))


def _documents() -> Iterator[tuple[Source, Mapping[str, Any]]]:
    for path in sorted(_FOLDER.glob("*.json")):
        yield source(path.stem), json.loads(path.read_bytes())


_DOCUMENTS = {declared.name: said for declared, said in _documents()}
_TOLD = [
    Told(source(name), number, told, said.get("form", False))
    for name, said in _DOCUMENTS.items()
    for number, told in enumerate(said["notifications"])
]
_SENDING = [name for name, declared in sources().items() if declared.webhook is not None]
each = pytest.mark.parametrize("told", _TOLD, ids=str)
each_source = pytest.mark.parametrize("name", _SENDING)


@each
def test_what_is_told_is_what_is_pulled(told: Told) -> None:
    found = [
        {"streams": list(event.notice.streams), "keys": list(event.keys)}
        | ({"merged_into": event.merged_into} if event.merged_into else {})
        | ({"is_deletion": True} if event.notice.is_deletion else {})
        for event in told.events(told.said["body"])
    ]
    assert found == told.said["tells"]


@each
def test_the_delivery_is_named_as_documented(told: Told) -> None:
    headers = {name.lower(): value for name, value in told.said.get("headers", {}).items()}
    assert told.webhook.delivery_of(told.message(told.said["body"]), headers) == told.said.get("delivery")


@each_source
def test_everything_that_a_source_tells_apart_is_documented(name: str) -> None:
    assert {"where", "version", "kind"} <= set(_DOCUMENTS[name]["documented"])
    assert _DOCUMENTS[name]["documented"]["kind"] in _KINDS
    told = [one for one in _TOLD if one.source.name == name]
    met = {event.notice for one in told for event in one.events(one.said["body"])}
    assert set(told[0].webhook.notices) - met == set()


@pytest.mark.parametrize(
    "told", [one for one in _TOLD if any(tell["keys"] for tell in one.said["tells"])], ids=str
)
def test_a_notification_that_names_nothing_is_refused(told: Told) -> None:
    for event in told.events(told.said["body"]):
        if event.keys:
            with pytest.raises(ValueError, match=r"names no record|does not say"):
                told.events(_without(told.said["body"], event))


def _without(body: Any, event: Event) -> Any:
    """A body in which every value that names a record of the event is gone."""
    named = {key.removeprefix(event.notice.prefix) for key in event.keys} | {str(event.merged_into)}

    def cut(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: cut(value) for name, value in node.items() if str(value) not in named}
        if isinstance(node, list):
            return [cut(value) for value in node if str(value) not in named]
        if isinstance(node, str) and node.startswith("{"):  # a message within the message
            return json.dumps(cut(json.loads(node)))
        return node

    return cut(body)


@each_source
def test_the_twin_sends_nothing_the_vendor_does_not_document(name: str, sent: Mapping[str, Any]) -> None:
    declared, said = source(name), _DOCUMENTS[name]
    headers, query, body = sent[name]
    assert {header.lower() for header in headers} <= {header.lower() for header in said.get("headers", ())}
    assert set(query) <= set(said.get("query", ()))
    assert declared.webhook is not None
    documented = [
        declared.webhook.decode(one.message(one.said["body"])) for one in _TOLD if one.source == declared
    ]
    known = {place for one in documented for place in _places(one)}
    assert body, "the twin sent nothing"
    assert sorted(_places(declared.webhook.decode(body)) - known) == []


def test_a_message_that_is_not_documented_is_found() -> None:
    known = _places([{"id": 1, "data": {"at": "now", "of": [{"sku": "A"}]}}])
    assert _places([{"id": 7, "data": {"at": None, "of": []}}]) <= known
    for other in ({"id": "1"}, {"id": 1, "note": "x"}, {"id": 1, "data": {"of": "A"}}):
        assert not _places([other]) <= known


def _places(node: Any, place: str = "") -> set[str]:
    """Dotted places that hold something, each with its JSON type."""
    if isinstance(node, dict):
        return {found for name, value in node.items() for found in _places(value, f"{place}.{name}")}
    if isinstance(node, list):
        return {found for value in node for found in _places(value, f"{place}[]")}
    kind = "number" if isinstance(node, int | float) and not isinstance(node, bool) else type(node).__name__
    return set() if node is None else {f"{place} {kind}"}


@pytest.fixture(scope="module")
def sent() -> Mapping[str, tuple[Mapping[str, str], Mapping[str, str], bytes]]:
    """What each twin sends of a change: headers, query and the message, verified and opened as we do."""
    sandbox = Sandbox(generate(334, 200), level="none", sources=_SENDING)
    now, found = datetime.now(UTC), {}
    for name in _SENDING:
        address = _ADDRESS.format(name)
        change = sandbox.changed(name, datetime(2020, 1, 1, tzinfo=UTC))[0]
        [notification] = sandbox.notifications(name, address, [change])
        webhook = source(name).webhook
        assert webhook is not None
        prefix = f"ORDERHUB_{name.upper()}_"
        values = {
            **sandbox.env("http://127.0.0.1"),
            **env(sandbox.credentials, name),
            f"{prefix}WEBHOOK_URL": address,
        }
        secrets = {one: values[prefix + one] for one in webhook.signature.secrets}
        headers = {header.lower(): value for header, value in notification.headers.items()}
        message = webhook.signature.open(
            Incoming(headers, notification.body, notification.params), secrets, now
        )
        found[name] = (notification.headers, notification.params, message)
    return found
