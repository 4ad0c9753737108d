"""Flows: what a document must be, what the lint finds, and that the order in which events come does not matter."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from oms_core.cli.main import app
from oms_core.flows import chart, definition, draw, guard, lanes, template
from oms_core.flows.definition import MIGRATED, Flow, Notification
from oms_core.flows.errors import DocumentError
from oms_core.flows.fold import Event, Folded, fold
from oms_core.flows.guard import Guard
from oms_core.flows.lint import check, lint

FOLDER = resources.files("oms_core.flows").joinpath("shipped")
SHIPPED = {item.name.removesuffix(".yaml"): item.read_text("utf-8") for item in FOLDER.iterdir()}
FLOWS = {name: definition.load(text) for name, text in SHIPPED.items()}
T0 = datetime(2026, 11, 1, 8, tzinfo=UTC)

SMALL: dict[str, Any] = {
    "flow": "small",
    "version": "1",
    "title": "Small",
    "applies_to": "true",
    "precedence": 1,
    "initial": "new",
    "acts_within": "PT48H",
    "events": {
        "go": {"title": "Go", "data": {"size": "whole"}},
        "stop": {"title": "Stop"},
        "late": {"title": "Late"},
    },
    "actions": {"ring": "Ring."},
    "notifications": {"hello": {"channel": "email", "subject": "Hi", "body": "Order ${order.order_number}"}},
    "states": {
        "new": {"title": "New"},
        "open": {"title": "Open", "timeout": {"after": "PT1H", "event": "late"}},
        "end": {"title": "End", "done": True},
    },
    "transitions": [
        {"from": ["new"], "on": "go", "to": "open", "actions": ["ring"], "notify": ["hello"]},
        {"from": ["open"], "on": "stop", "to": "end"},
        {"from": ["open"], "on": "late", "to": "end"},
    ],
}


def small(**changed: Any) -> Flow:
    return definition.load(json.dumps({**SMALL, **changed}))


def event(kind: str, hours: float = 0, event_id: str = "", **more: Any) -> Event:
    return Event(event_id or f"{kind}@{hours}", kind, T0 + timedelta(hours=hours), "test", **more)


def run(flow: Flow, *events: Event, facts: dict[str, Any] | None = None) -> Folded:
    return fold({flow.version: flow}, flow.version, facts or {}, events)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_flows_have_no_fault_and_fit_the_schema(name: str) -> None:
    schema = json.loads(resources.files("oms_core.flows").joinpath("flow.schema.json").read_text("utf-8"))
    assert schema == definition.schema()
    jsonschema.validate(yaml.load(SHIPPED[name], Loader=definition._Once), schema)
    assert lint(FLOWS[name]) == []
    assert definition.load(FLOWS[name].document) == FLOWS[name]
    assert list(definition.load(FLOWS[name].document).events) == list(FLOWS[name].events)


@pytest.mark.parametrize(
    ("code", "place", "changed"),
    [
        ("unknown-state", "initial", {"initial": "gone"}),
        ("unreachable-state", "states.lost", {"states": {**SMALL["states"], "lost": {"title": "Lost", "done": True}}}),
        ("dead-end-state", "states.end", {"states": {**SMALL["states"], "end": {"title": "End"}, "new": {"title": "New", "done": True}}}),
        ("no-end", "states", {"states": {**SMALL["states"], "end": {"title": "End"}}}),
        (
            "trap-state",
            "states.a",
            {
                "states": {**SMALL["states"], "a": {"title": "A"}, "b": {"title": "B"}},
                "transitions": [
                    *SMALL["transitions"],
                    {"from": ["new"], "on": "stop", "to": "a"},
                    {"from": ["a"], "on": "go", "to": "b"},
                    {"from": ["b"], "on": "go", "to": "a"},
                ],
            },
        ),
        ("timeout-without-exit", "states.open.timeout", {"transitions": SMALL["transitions"][:2]}),
        (
            "ambiguous-transition",
            "transitions[1] (open → end on stop) and transitions[2] (open → new on stop)",
            {"transitions": [*SMALL["transitions"][:2], {"from": ["open"], "on": "stop", "to": "new"}, SMALL["transitions"][2]]},
        ),
        (
            "ambiguous-transition",
            "transitions[0] (new → open on go) and transitions[1] (new → end on go)",
            {
                "transitions": [
                    {"from": ["new"], "on": "go", "to": "open", "when": "event.size > 2"},
                    {"from": ["new"], "on": "go", "to": "end", "when": "event.size < 5"},
                    *SMALL["transitions"][1:],
                ]
            },
        ),
        (
            "bad-guard",
            "transitions[0] (new → open on go).when",
            {"transitions": [{**SMALL["transitions"][0], "when": "order.colour == 'red'"}, *SMALL["transitions"][1:]]},
        ),
        ("bad-guard", "applies_to", {"applies_to": "order.net_amount"}),
        ("bad-guard", "applies_to", {"applies_to": "order.net_amount > 'much'"}),
        ("unknown-action", "transitions[0] (new → open on go)", {"actions": {}}),
        ("unknown-notification", "transitions[0] (new → open on go)", {"notifications": {}}),
        (
            "bad-template",
            "notifications.hello",
            {"notifications": {"hello": {"channel": "sms", "body": "${order.__class__} ${customer.name}"}}},
        ),
        (
            "endless-loop",
            "states.new",
            {"transitions": [*SMALL["transitions"], {"from": ["new"], "to": "open"}, {"from": ["open"], "to": "new"}]},
        ),
    ],
)  # fmt: skip
def test_lint_names_the_place_and_the_remedy(code: str, place: str, changed: dict[str, Any]) -> None:
    flow = small(**changed)
    found = [finding for finding in lint(flow) if finding.code == code]
    assert place in [finding.place for finding in found]
    assert all(finding.remedy and finding.message for finding in found)
    with pytest.raises(DocumentError, match=code):
        check(flow)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "no YAML"),
        ("a: 1\na: 2", "said twice"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("flow: Small", "flow: "),
        (json.dumps({**SMALL, "colour": "red"}), "colour"),
        (json.dumps({**SMALL, "states": {}}), "states"),
        (json.dumps({**SMALL, "acts_within": "soon"}), "acts_within"),
        ("[" * 5000, "no YAML|nested"),
        ("x" * 300_000, "longer"),
    ],
)
def test_what_is_no_flow_is_refused_by_name(text: str, told: str) -> None:
    with pytest.raises(DocumentError, match=told):
        definition.load(text)


def test_a_late_scan_does_not_take_an_order_back_from_delivered() -> None:
    way = [event("created"), event("payment_verified", 1), event("dispatched", 20), event("delivered", 40)]
    late = [event("carrier_scanned", 30), event("carrier_scanned", 41), event("picked", 50)]
    assert run(FLOWS["b2c"], *way, *late).state == "delivered"
    assert run(FLOWS["b2c"], *way, *late).entered_at == T0 + timedelta(hours=40)


def test_a_return_may_reuse_the_waybill() -> None:
    waybill = {"waybill": "7311"}
    out = [
        event("created"),
        event("dispatched", 2),
        event("carrier_scanned", 3, data=waybill),
        event("delivered", 9),
    ]
    back = [event("return_requested", 20), event("carrier_scanned", 30, data=waybill), event("returned", 50), event("refunded", 60)]  # fmt: skip
    assert run(FLOWS["b2c"], *out, *back[:2]).state == "return_shipped"
    assert run(FLOWS["b2c"], *out, *back).state == "refunded"
    assert run(FLOWS["b2c"], *back, *out, event("carrier_scanned", 8, data=waybill)).state == "refunded"


def test_a_large_or_unknown_amount_waits_for_finance() -> None:
    for facts, state in (
        ({"net_amount": "9999.99"}, "accepted"),
        ({"net_amount": "10000.00"}, "to_approve"),
        ({}, "to_approve"),
    ):
        assert run(FLOWS["b2b"], event("created"), facts=facts).state == state
    paid_early = [
        event("created"),
        event("payment_verified", 1),
        event("approved", 2),
        event("dispatched", 3),
    ]
    assert run(FLOWS["b2b"], *paid_early, event("delivered", 4)).state == "settled"


def test_presale_goes_from_deposit_to_the_nearest_node() -> None:
    way = [event("created"), event("payment_verified", 1), event("experience_booked", 30), event("experience_done", 60, data={"store": "s", "wants_it": True})]  # fmt: skip
    assert run(FLOWS["presale"], *way).state == "balance_due"
    folded = run(FLOWS["presale"], *way, event("balance_paid", 70, data={"amount": 80.0}))
    assert folded.state == "balanced"
    assert FLOWS["presale"].transitions[folded.steps[-1].index or 0].actions == ("source_nearest",)
    # Whether it is wanted, nobody said: nothing is assumed.
    unsaid = run(FLOWS["presale"], *way[:3], event("experience_done", 60))
    assert (unsaid.state, "event.wants_it" in unsaid.idle[-1].because) == ("booked", True)


def test_a_timeout_counts_only_where_the_time_was_really_up() -> None:
    flow = small()
    late = event("late", 1, due_from="open")
    assert run(flow, event("go"), late).state == "end"
    assert run(flow, event("go", 0.5), late).state == "open"  # it entered later than was thought
    assert run(flow, event("go"), event("stop", 0.9), late).steps[-1].event.kind == "stop"


def test_a_migration_maps_the_state_that_late_events_show() -> None:
    one = small()
    two = small(version="2", states={**SMALL["states"], "open": {"title": "Open"}, "half": {"title": "Half"}}, transitions=[
        *SMALL["transitions"][:2], {"from": ["half"], "on": "stop", "to": "end"}, {"from": ["new"], "on": "late", "to": "half"},
    ])  # fmt: skip
    moved = Event("m", MIGRATED, T0 + timedelta(hours=5), "orderhub", data={"to_version": "2", "states": {"new": "new", "open": "half", "end": "end"}})  # fmt: skip
    flows = {"1": one, "2": two}
    assert fold(flows, "1", {}, [moved]).state == "new"
    late = fold(flows, "1", {}, [moved, event("go", 1)])
    assert (late.state, late.version) == ("half", "2")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_permutation_of_the_same_events_folds_to_the_same_state(data: st.DataObject) -> None:
    flow = FLOWS[data.draw(st.sampled_from(sorted(FLOWS)))]
    kinds = data.draw(st.lists(st.sampled_from([*flow.events, "unheard_of"]), max_size=9))
    hours = data.draw(st.lists(st.integers(0, 4), min_size=len(kinds), max_size=len(kinds)))
    events = [event(kind, hour, f"e{n}") for n, (kind, hour) in enumerate(zip(kinds, hours, strict=True))]
    shuffled = data.draw(st.permutations(events))
    doubled = [
        *shuffled,
        *data.draw(st.lists(st.sampled_from(events), max_size=3) if events else st.just([])),
    ]
    assert run(flow, *events) == run(flow, *doubled)
    assert run(flow, *events).state in flow.leaves


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_kept_of_the_library_is_what_it_decides(data: st.DataObject) -> None:
    flow = FLOWS[data.draw(st.sampled_from(sorted(FLOWS)))]
    facts = data.draw(
        st.fixed_dictionaries({}, optional={"net_amount": st.sampled_from(["1", "20000"]), "is_first_order": st.booleans()})
    )  # fmt: skip
    carried = st.fixed_dictionaries({}, optional={"wants_it": st.booleans(), "amount": st.just(1.0)})
    told = data.draw(st.lists(st.tuples(st.sampled_from(sorted(flow.events)), carried), max_size=8))
    events = [
        event(
            kind, place, data={name: value for name, value in said.items() if name in flow.events[kind].data}
        )
        for place, (kind, said) in enumerate(told)
    ]
    known = run(flow, *events, facts=facts)
    chart._DECIDED.clear()
    assert run(flow, *events, facts=facts) == known


def test_guards_ask_and_do_nothing_else() -> None:
    for source in ("__import__('os').system('x')", "open('/etc/passwd')", "order.net_amount = 3", "1 +"):
        with pytest.raises(DocumentError):
            Guard(source)
    asked = Guard("order.net_amount > 5.0")
    assert asked.ask(guard.scope({"net_amount": "5.01"}, [])).holds
    unknown = asked.ask(guard.scope({}, []))
    assert not unknown.holds
    assert unknown.unknown is not None
    assert "order.net_amount" in unknown.unknown


def test_a_text_with_a_gap_says_so_and_values_are_never_read_as_templates() -> None:
    text = Notification(channel="email", subject="Order ${order.order_number}", body="$$ ${order.channel}")
    filled = template.render(text, {"order_number": "${order.channel} {0} %s", "channel": "shop"}, {})
    assert (filled.subject, filled.body) == ("Order ${order.channel} {0} %s", "$ shop")
    assert template.render(text, {"channel": "shop"}, {}).missing == ("order.order_number",)
    assert template.faults("${order.order_number.__class__}", None)
    assert template.faults("100 $", None)


def test_the_drawing_holds_every_state_and_transition() -> None:
    for flow in FLOWS.values():
        drawn = draw.mermaid(flow, next(iter(flow.leaves)))
        assert all(f"s_{name}" in drawn for name in flow.places)
        assert drawn.count(" --> ") >= sum(len(item.origins) for item in flow.transitions)


def test_the_picture_has_a_lane_for_each_state_and_a_row_for_each_transition() -> None:
    for flow in FLOWS.values():
        at = list(flow.leaves)[-1]
        picture = ElementTree.fromstring(lanes.svg(flow, at))
        texts = [item for item in picture.iter("{http://www.w3.org/2000/svg}text") if item.get("font-weight")]
        rows = [item.text for item in texts if item.get("x") == "16"][1:]
        assert [name.partition(",")[0] for name in rows if name] == [
            item.on or "at once" for item in flow.transitions
        ]
        assert {name for name in flow.leaves if len(name) <= 13} <= {item.text for item in texts}
        arrows = list(picture.iter("{http://www.w3.org/2000/svg}path"))
        assert len(arrows) >= len([item for item in flow.transitions if item.to is not None])
        marked = [item for item in picture.iter() if item.get("fill") == "#ffd54d"]
        assert len(marked) == 1
    odd = ElementTree.fromstring(lanes.svg(small(title='a < b & \x7f "c"')))
    assert odd[0].text == 'small 1: a < b &   "c"'


def test_the_command_lints_and_draws(tmp_path: Path) -> None:
    good, trap = tmp_path / "good.yaml", tmp_path / "trap.yaml"
    good.write_text(json.dumps(SMALL))
    states = {**SMALL["states"], "hole": {"title": "Hole"}}
    trap.write_text(json.dumps({**SMALL, "states": states, "transitions": [*SMALL["transitions"], {"from": ["new"], "on": "stop", "to": "hole"}]}))  # fmt: skip
    run_command = CliRunner().invoke
    assert run_command(app, ["flow", "lint", str(good)]).exit_code == 0
    refused = run_command(app, ["flow", "lint", str(trap)])
    assert refused.exit_code == 1
    assert "states.hole" in refused.output
    assert "stateDiagram-v2" in run_command(app, ["flow", "draw", str(good)]).output
    drawn = tmp_path / "good.svg"
    assert run_command(app, ["flow", "draw", str(good), "--svg", str(drawn)]).exit_code == 0
    assert drawn.read_text("utf-8") == lanes.svg(definition.load(good.read_text()))
    assert run_command(app, ["flow", "draw", "nowhere"]).exit_code == 2
    assert definition.load(run_command(app, ["flow", "example", "presale"]).output) == FLOWS["presale"]
    assert json.loads(run_command(app, ["flow", "schema"]).output) == definition.schema()
