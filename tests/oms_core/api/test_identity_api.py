"""Stewards over HTTP: their own keys, nothing to be seen without one, and two at once get a conflict, not a lost update."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from oms_core.api import keys, models
from oms_core.api.app import create_app
from oms_core.identity import state
from oms_core.identity.resolve import ScoredPair, Scores, resolve
from oms_core.identity.scoring.model import Model
from oms_core.identity.scoring.threshold import Thresholds
from oms_core.identity.stewardship import activation, evidence
from oms_core.identity.stewardship.queue import links, pair_tasks
from oms_core.store.postgres import Database

T0 = datetime(2026, 10, 1, tzinfo=UTC)
READER = "r" * 32
_EMPTY = dict.fromkeys(
    (
        "customer_type", "full_name", "company_name", "email", "phone", "phone_e164", "tax_number", "street", "city", "region",
        "postcode", "country", "marketplace_buyer_id", "parent_key", "source_key",
    )
)  # fmt: skip
ANN, ANNA = "shop:customers:1", "crm:contacts:2"


def _person(record_id: str, second: int, **values: Any) -> dict[str, Any]:
    source, _, key = record_id.split(":")
    known = {"record_id": record_id, "source_system": source, "source_key": key}
    return {**_EMPTY, **known, "_first_seen_at": T0.replace(second=second), **values}


PEOPLE = [
    _person(ANN, 1, full_name="Ann Lee", email="ann@example.org"),
    _person(ANNA, 2, full_name="Anna Lee", email="ann.lee@example.net"),
    _person("erp:parties:3", 3, full_name="Bob Roe", email="bob@example.org"),
]


def _run(database: Database, probability: float = 0.7) -> None:
    with database.begin() as connection:
        known = state.recall(connection)
        scores = {"customer": Scores([ScoredPair(ANNA, ANN, probability)], Thresholds(0.9, 0.5))}
        outcome = resolve(PEOPLE, [], [], [], [], known, scores=scores)["customer"]
        state.remember(connection, {"customer": outcome}, known, T0)
        evidence.keep_records(connection, "customer", PEOPLE)
        evidence.keep_links(connection, "customer", links(outcome.evidence, outcome.refusals))
        grey = [(item.left, item.right, item.probability) for item in outcome.doubtful]
        tasks = pair_tasks("customer", outcome.assignment.members, outcome.refusals, grey)
        evidence.open_tasks(connection, "customer", tasks, T0)


@pytest.fixture
def key(database: Database) -> str:
    """Mia's key, over a store that has seen one run."""
    _run(database)
    with database.begin() as connection:
        return keys.make(connection, "mia", role=keys.STEWARD, by="root")


Serving = Callable[[FastAPI], httpx.Client]


@pytest.fixture
def open_client(database: Database, serving: Serving) -> Iterator[Callable[..., httpx.Client]]:
    """Opens clients that carry a key, or none."""
    address = serving(create_app(database, READER)).base_url
    with contextlib.ExitStack() as stack:

        def run(key: str | None = None) -> httpx.Client:
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            return stack.enter_context(httpx.Client(base_url=address, headers=headers, timeout=60))

        yield run


@pytest.fixture
def mia(open_client: Callable[..., httpx.Client], key: str) -> httpx.Client:
    """A client of the steward Mia."""
    return open_client(key)


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Check that an answer is a problem of a kind; gives its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:orderhub:problem:{kind}"
    models.Problem.model_validate(body)
    return body


def judgement(**given: Any) -> dict[str, Any]:
    """A body of a decision."""
    return {"left": ANN, "right": ANNA, "judgement": "same", "reason": "called them", "seen": 0, **given}


STEWARDS_ONLY = [
    ("GET", "/identity/tasks"),
    ("GET", f"/identity/pairs?left={ANN}&right={ANNA}"),
    ("GET", "/identity/customer/CUS-X"),
    ("GET", f"/identity/history?of={ANN}"),
    ("GET", "/identity/decisions/1"),
    ("GET", "/identity/models?entity=customer"),
    ("POST", "/identity/decisions"),
    ("POST", "/identity/decisions/1/withdrawal"),
    ("POST", "/identity/models/activations"),
    ("POST", "/identity/models/reports"),
]


def test_only_a_stewards_own_key_opens_what_stewards_see_and_do(
    open_client: Callable[..., httpx.Client], key: str, database: Database
) -> None:
    number, secret = key.split("_", 2)[1:]
    client = open_client()
    wrong = (None, READER, "ohs_1_", f"ohs_{number}_{'x' * 43}", f"ohs_99_{secret}", key[:-1], "ohs_²_x")
    for method, path in STEWARDS_ONLY:
        body = None if method == "GET" else {}
        for offered in wrong:
            headers = {} if offered is None else {b"X-API-Key": offered.encode()}
            answer = client.request(method, path, headers=headers, json=body)
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
    with database.begin() as connection:
        keys.revoke(connection, "mia", role=keys.STEWARD, by="root")
    for method, path in STEWARDS_ONLY:
        problem(
            open_client(key).request(method, path, json=None if method == "GET" else {}), 401, "unauthorized"
        )


def test_without_any_key_set_stewards_still_need_theirs(
    database: Database, key: str, serving: Serving
) -> None:
    client = serving(create_app(database))
    problem(client.get("/identity/tasks"), 401, "unauthorized")
    assert client.get("/identity/events").status_code == 200
    assert client.get("/identity/tasks", headers={"X-API-Key": key}).status_code == 200
    problem(client.get("/identity/events", headers={"Host": "evil.example"}), 421, "invalid-request")


def test_only_hashes_of_keys_are_stored(database: Database, key: str) -> None:
    with database.begin() as connection:
        stored = connection.execute(
            text("SELECT row_to_json(k)::text FROM orderhub.api_keys AS k")
        ).scalar_one()
    assert key not in stored and key.split("_", 2)[2] not in stored


def test_the_queue_is_shown_and_a_decision_empties_it(mia: httpx.Client) -> None:
    body = mia.get("/identity/tasks").json()
    assert body["total"] == 1
    task = body["tasks"][0]
    assert (task["left"], task["right"], task["kind"], task["probability"]) == (ANNA, ANN, "grey_zone", 0.7)
    assert task["worth"] == {"orders": 0, "open_orders": 0, "revenue": {}}
    made = mia.post("/identity/decisions", json=judgement())
    assert made.status_code == 201, made.text
    decision = made.json()
    assert (decision["by"], decision["judgement"], decision["version"]) == ("mia", "same", 1)
    assert mia.get(made.headers["location"]).json() == {k: v for k, v in decision.items() if k != "version"}
    assert mia.get("/identity/tasks").json() == {"tasks": [], "total": 0}
    closed = mia.get("/identity/tasks?state=closed&entity=customer&kind=grey_zone").json()["tasks"]
    assert [(item["id"], item["outcome"], item["decision_id"]) for item in closed] == [
        (task["id"], "same", decision["id"])
    ]


def test_a_pair_tells_its_version_and_the_decision_names_it(
    mia: httpx.Client, monkeypatch: pytest.MonkeyPatch, small_model: Model
) -> None:
    monkeypatch.setattr(
        "oms_core.identity.scoring.weights.active_model", lambda connection, entity: small_model
    )
    shown = mia.get("/identity/pairs", params={"left": ANN, "right": ANNA})
    assert shown.headers["etag"] == '"0"'
    assert shown.headers["cache-control"] == "private, no-store"
    body = shown.json()
    assert (body["is_one"], body["version"]) == (False, 0)
    assert body["score"]["steps"][0]["field"] == "prior"
    total = sum(step["weight_bits"] for step in body["score"]["steps"])
    assert body["score"]["match_weight_bits"] == pytest.approx(total)
    assert [item["judgement"] for item in body["blast"]] == ["same"]
    made = mia.post(
        "/identity/decisions", json=judgement(seen=None), headers={"If-Match": shown.headers["etag"]}
    )
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    late = mia.post("/identity/decisions", json=judgement(judgement="different"))
    conflict = problem(late, 409, "conflict")
    assert conflict["decision"] == {k: v for k, v in made.json().items() if k != "version"}
    assert conflict["version"] == 1 and late.headers["etag"] == '"1"'
    assert mia.post("/identity/decisions", json=judgement(judgement="different", seen=1)).status_code == 201


def test_a_decision_that_names_no_version_is_sent_back(mia: httpx.Client) -> None:
    problem(mia.post("/identity/decisions", json=judgement(seen=None)), 428, "version-needed")
    for tag in ('"x"', "*", '"1", "2"'):
        answer = mia.post("/identity/decisions", json=judgement(), headers={"If-Match": tag})
        problem(answer, 422, "invalid-request")


def test_two_stewards_at_once_get_one_decision_and_one_conflict(
    database: Database, open_client: Callable[..., httpx.Client], key: str
) -> None:
    with database.begin() as connection:
        other = keys.make(connection, "tom", role=keys.STEWARD, by="root")
    answers: list[httpx.Response] = []
    ready = threading.Barrier(2)

    def judge(of: str, word: str) -> None:
        client = open_client(of)
        ready.wait()
        answers.append(client.post("/identity/decisions", json=judgement(judgement=word)))

    threads = [threading.Thread(target=judge, args=given) for given in ((key, "same"), (other, "different"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won, lost = sorted(answers, key=lambda answer: answer.status_code)
    assert won.status_code == 201
    assert problem(lost, 409, "conflict")["decision"]["by"] == won.json()["by"]


def test_contradictions_come_with_their_chain(mia: httpx.Client) -> None:
    third = "erp:parties:3"
    assert mia.post("/identity/decisions", json=judgement()).status_code == 201
    assert mia.post("/identity/decisions", json=judgement(left=ANNA, right=third)).status_code == 201
    answer = mia.post("/identity/decisions", json=judgement(left=third, right=ANN, judgement="different"))
    assert {item["id"] for item in problem(answer, 409, "contradiction")["chain"]} == {1, 2}


def test_a_decision_is_withdrawn_once_and_its_task_comes_back(mia: httpx.Client) -> None:
    mia.post("/identity/decisions", json=judgement(judgement="unsure"))
    problem(mia.post("/identity/decisions/1/withdrawal", json={"reason": "no", "seen": 5}), 409, "conflict")
    gone = mia.post("/identity/decisions/1/withdrawal", json={"reason": "a mix-up"})
    assert (gone.status_code, gone.json()["withdrawn_by"], gone.json()["withdrawn_reason"]) == (
        200,
        "mia",
        "a mix-up",
    )
    problem(mia.post("/identity/decisions/1/withdrawal", json={"reason": "again"}), 409, "conflict")
    problem(mia.post("/identity/decisions/9/withdrawal", json={"reason": "no"}), 404, "unknown-name")
    assert mia.get("/identity/tasks").json()["total"] == 1
    history = mia.get("/identity/history", params={"of": ANN, "other": ANNA}).json()
    assert [item["kind"] for item in history["history"]] == ["unsure", "withdrawn"]
    assert history["version"] == 2


def test_a_golden_id_is_shown_with_its_records_and_leads_on_when_retired(
    mia: httpx.Client, database: Database
) -> None:
    before = {item["record_id"]: item["golden_id"] for item in _looked_up(mia)}
    mia.post("/identity/decisions", json=judgement())
    _run(database)
    body = mia.get(f"/identity/customer/{before[ANNA]}").json()
    assert (body["asked"], body["golden_id"]) == (before[ANNA], before[ANN])
    assert [item["record_id"] for item in body["records"]] == [ANNA, ANN]
    assert body["records"][0]["links"][0]["rule"] == "steward mia"
    assert body["records"][0]["fields"]["email"] == "ann.lee@example.net"
    assert "born" in {item["kind"] for item in body["history"]}
    merged = mia.get("/identity/history", params={"of": before[ANNA]}).json()["history"]
    assert "merged" in {item["kind"] for item in merged}
    problem(mia.get("/identity/customer/CUS-NONE"), 404, "unknown-name")
    problem(mia.get(f"/identity/sku/{before[ANN]}"), 404, "unknown-name")


def _looked_up(client: httpx.Client) -> list[dict[str, Any]]:
    return [
        {"record_id": record, **client.get("/identity/lookup", params={"record": record}).json()["found"][0]}
        for record in (ANN, ANNA)
    ]


def test_the_feed_and_the_look_up_are_open_to_readers(
    open_client: Callable[..., httpx.Client], mia: httpx.Client, database: Database
) -> None:
    reader = open_client(READER)
    with database.begin() as connection:
        ids = evidence.golden_ids_of(connection, "customer", {ANN})
    for client in (reader, mia):
        first = client.get("/identity/events", params={"limit": 2}).json()
        assert [event["kind"] for event in first["events"]] == ["born", "born"]
        rest = client.get("/identity/events", params={"after": first["next_after"]}).json()
        assert len(rest["events"]) == 1
        last = client.get("/identity/events", params={"after": rest["next_after"]}).json()
        assert last == {"events": [], "next_after": rest["next_after"]}
        assert "@" not in str(first)
    for record in (ANN, "shop:1"):
        found = reader.get("/identity/lookup", params={"record": record}).json()["found"]
        assert [item["entity"] for item in found] == ["customer"]
        assert found[0]["golden_id"] == found[0]["current_id"] == ids[ANN]
    problem(reader.get("/identity/lookup?record=shop:customers:99"), 404, "unknown-name")
    early = reader.get("/identity/lookup", params={"record": ANN, "at": "2020-01-01T00:00:00"})
    assert "2020-01-01" in problem(early, 404, "unknown-name")["detail"]
    problem(open_client().get("/identity/events"), 401, "unauthorized")


def test_unfit_decisions_are_refused(mia: httpx.Client) -> None:
    for change in (
        {"reason": "  "}, {"reason": "x" * 2001}, {"reason": "a\0b"}, {"left": ""}, {"left": "\0"}, {"judgement": "perhaps"},
        {"by": "somebody else"}, {"seen": -1}, {"entity": "cat"}, {"left": ANNA},
    ):  # fmt: skip
        problem(mia.post("/identity/decisions", json=judgement(**change)), 422, "invalid-request")
    for name in ("nobody", "' OR 1=1 --", "%", "CUS-NONE"):
        problem(mia.post("/identity/decisions", json=judgement(left=name)), 404, "unknown-name")
    assert mia.get("/identity/history", params={"of": ANN, "other": ANNA}).json()["version"] == 0


def test_bodies_are_short_and_have_a_length(mia: httpx.Client, key: str) -> None:
    problem(mia.post("/identity/decisions", json=judgement(reason="x" * 270_000)), 413, "invalid-request")
    problem(mia.post("/orders/1", content=b"{}"), 405, "other-method")
    problem(mia.post("/identity/decisions", content=iter([b"{}"])), 413, "invalid-request")
    problem(mia.put("/identity/decisions"), 405, "other-method")
    for content in (b"", b"[" * 9000, b'{"left": "\xff"}', b'{"left": "\\ud800"}'):
        answer = mia.post(
            "/identity/decisions", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (400, 422), answer.text


def test_names_that_lead_to_several_say_so(mia: httpx.Client, database: Database) -> None:
    with database.begin() as connection:
        connection.execute(
            text(
                "UPDATE orderhub.identity_values SET fields = fields || jsonb_build_object('email', 'ann@example.org')"
            )
        )
    answer = mia.get("/identity/pairs", params={"left": "ann@example.org", "right": ANNA})
    assert problem(answer, 409, "ambiguous-number")["candidates"] == [ANNA, "erp:parties:3", ANN]


def test_models_are_activated_only_after_their_report(
    mia: httpx.Client, database: Database, small_model: Model
) -> None:
    asked = {"entity": "customer", "version": "by hand", "sha256": small_model.sha256, "reason": "better"}
    problem(mia.post("/identity/models/activations", json=asked), 404, "unknown-name")
    with database.begin() as connection:
        activation.keep_report(connection, "customer", small_model, {"records_moved": 0}, by="root")
    mia.post("/identity/decisions", json=judgement())  # and so the report is out of date
    refused = problem(mia.post("/identity/models/activations", json=asked), 409, "activation-refused")
    assert "out of date" in refused["detail"]
    with database.begin() as connection:
        activation.keep_report(connection, "customer", small_model, {"records_moved": 0}, by="root")
    made = mia.post("/identity/models/activations", json=asked)
    assert (made.status_code, made.json()["by"]) == (201, "mia")
    shown = mia.get("/identity/models?entity=customer").json()
    assert [item["version"] for item in shown["activations"]] == ["by hand"]
    assert len(shown["reports"]) == 2
    pages = [
        mia.get("/identity/models", params={"entity": "customer", "limit": 1, "offset": offset}).json()[
            "reports"
        ]
        for offset in range(3)
    ]
    assert pages == [shown["reports"][1:], shown["reports"][:1], []]
    told = mia.get("/identity/history", params={"of": ANN}).json()
    assert told["total"] == len(told["history"]) > 0
    last = mia.get("/identity/history", params={"of": ANN, "limit": 1, "offset": told["total"] - 1}).json()
    assert last["history"] == told["history"][-1:]


def test_what_a_model_would_change_is_told_beside_the_records_alone(
    database: Database,
    key: str,
    open_client: Callable[..., httpx.Client],
    serving: Serving,
    small_model: Model,
) -> None:
    asked = {"entity": "customer", "version": "by hand"}
    problem(open_client(key).post("/identity/models/reports", json=asked), 409, "activation-refused")
    app = create_app(database, READER, differ=lambda connection, model: {"version": model.version})
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=serving(app).base_url, headers=headers) as mia:
        problem(mia.post("/identity/models/reports", json=asked), 404, "unknown-name")
        with database.begin() as connection:
            activation.keep_report(connection, "customer", small_model, {}, by="root")
        made = mia.post("/identity/models/reports", json=asked)
        assert made.status_code == 201
        assert (made.json()["report"], made.json()["by"]) == ({"version": "by hand"}, "mia")
        # The report is what an activation asks for.
        told = {**asked, "sha256": made.json()["model_sha256"], "reason": "nothing moves"}
        assert mia.post("/identity/models/activations", json=told).status_code == 201
