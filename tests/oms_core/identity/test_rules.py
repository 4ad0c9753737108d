"""Survivorship rules as data: what ships, what stewards set over it, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from typer.testing import CliRunner

from oms_core.audit import log
from oms_core.cli.main import app
from oms_core.identity.golden import rules
from oms_core.identity.golden.survivorship import (
    RULES,
    SHIPPED,
    UNITS,
    InForce,
    Rule,
    RuleError,
    attributes,
    groups,
    in_force,
    priorities,
)
from oms_core.store.postgres import Database

QUICK = settings(max_examples=60, deadline=None, database=None)
ANN = {"by": "ann", "reason": "billing knows best"}


def force(standing: list[Rule], entity: str, unit: str) -> InForce:
    return next(
        item
        for item in in_force(rules.shipped(), standing)
        if (item.entity, item.unit.name) == (entity, unit)
    )


def test_what_ships_rules_every_unit_and_lists_known_sources() -> None:
    found = in_force(rules.shipped(), [])
    assert {(item.entity, item.unit.name) for item in found} == {
        (entity, unit.name) for entity, units in UNITS.items() for unit in units
    }
    assert {item.version for item in found} == {SHIPPED}
    assert all(item.priorities for item in found)
    assert force([], "customer", "tax_number").must_agree == ("tax_number",)


def test_a_system_named_by_itself_has_its_own_place_else_that_of_its_kind() -> None:
    found = priorities(("shopify", "erp", "marketplace"), rules.shipped().systems)
    assert (found["shopify"], found["tryton"], found["sap_s4"], found["amazon"]) == (1, 2, 2, 3)
    assert "hubspot" not in found


def test_the_attribute_outranks_its_group_and_the_steward_what_ships() -> None:
    group = Rule("customer", "profile", "most_recent", ("erp",), version="1")
    single = Rule("customer", "loyalty_tier", "most_frequent", ("pos", "crm"), version="2")
    for standing in ([group, single], [single, group]):
        assert force(standing, "customer", "language").rule == "most_recent"
        loyalty = force(standing, "customer", "loyalty")
        assert (loyalty.rule, loyalty.named_by, loyalty.version) == ("most_frequent", "loyalty_tier", "2")
    later = Rule("customer", "profile", "most_complete", ("crm",), version="3")
    assert force([group, later], "customer", "segment").version == "3"


def test_must_agree_may_be_said_of_one_attribute_of_a_whole() -> None:
    differ = Rule("customer", "country", None, None, must_agree=False, version="1")
    address = force([differ], "customer", "address")
    assert (address.must_agree, address.version) == ((), SHIPPED)
    group = Rule("customer", "address", None, None, must_agree=False, version="2")
    assert force([group], "customer", "address").must_agree == ()
    assert force([], "customer", "address").must_agree == ("country",)


@pytest.mark.parametrize(
    ("entity", "name", "options", "message"),
    [
        ("client", "name", {"rule": "most_recent"}, "no entity 'client'; there are order, customer, sku, location"),
        ("customer", "emial", {"rule": "most_recent"}, "no attribute group or attribute 'emial'; did you mean email"),
        ("customer", "email", {"rule": "newest"}, "no rule 'newest'; there are source_priority, most_recent"),
        ("customer", "email", {"order": ["crm", "sapx"]}, "no kind of system or system 'sapx'; kinds: pos, wms"),
        ("customer", "email", {"order": ["crm", "erp", "crm"]}, "crm is listed twice"),
        ("customer", "email", {"order": []}, "the order of sources is empty"),
        ("customer", "email", {}, "the rule says nothing"),
        ("customer", "city", {"order": ["erp"]}, "city survives whole with the rest of address"),
        ("order", "net_amount", {"order": ["erp"]}, "net_amount survives whole with the rest of money"),
        ("order", "paid_amount", {"order": ["erp"]}, "set the rule of payments"),
        ("order", "delivered", {"rule": "most_recent"}, "told as a whole by one source"),
        ("sku", "title", {"must_agree": True}, None),  # the group: its brand can be compared
        ("sku", "unit_cost_amount", {"must_agree": True}, "must_agree is there for brand, gtin14"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused_in_a_sentence(
    entity: str, name: str, options: dict[str, Any], message: str | None
) -> None:
    if message is None:
        assert rules.propose(entity, name, [], **options).must_agree
        return
    with pytest.raises(RuleError, match=message):
        rules.propose(entity, name, [], **options)


def test_what_is_not_given_stays_as_it_is() -> None:
    consent = rules.propose("customer", "consent", [], order=["pos", "crm"])
    assert (consent.rule, consent.sources) == ("most_recent", ("pos", "crm"))
    email = rules.propose("customer", "email", [], rule="most_recent")
    assert email.sources == ("crm", "marketplace", "erp", "pos", "file")
    again = rules.propose("customer", "consent", [consent], rule="most_frequent")
    assert again.sources == ("pos", "crm")


def test_set_withdraw_and_history(database: Database) -> None:
    with database.begin() as connection:
        first = rules.set_rule(
            connection, rules.propose("customer", "email", [], order=["erp", "crm"]), **ANN
        )
        second = rules.set_rule(
            connection, rules.propose("customer", "email", [first], rule="most_recent"), **ANN
        )
    assert first.set_at is not None
    assert first.set_at <= datetime.now(UTC)
    with database.begin() as connection:
        assert rules.holding(connection, "customer", "email") == second.version
        rules.withdraw(connection, int(second.version), by="bob", reason="a slip")
        assert rules.holding(connection, "customer", "email") == first.version
        rules.withdraw(connection, int(first.version), by="bob", reason="a slip, too")
        assert rules.holding(connection, "customer", "email") == SHIPPED
        assert rules.standing(connection) == []
        assert [(item.rule.rule, item.withdrawn_by) for item in rules.history(connection)] == [
            ("source_priority", "bob"), ("most_recent", "bob"),
        ]  # fmt: skip
        assert rules.history(connection, "sku") == []
        with pytest.raises(RuleError, match="was withdrawn by bob"):
            rules.withdraw(connection, int(first.version), by="bob", reason="again")
        with pytest.raises(RuleError, match="no rule has version 99"):
            rules.withdraw(connection, 99, by="bob", reason="again")
    with database.begin() as connection:
        said = [entry.said for entry in log.read(connection, -1, 9)]
    assert [(entry["kind"], entry["actor"], entry["subject"]) for entry in said] == [
        ("rule.set", "ann", "customer/email"), ("rule.set", "ann", "customer/email"),
        ("rule.withdrawn", "bob", "customer/email"), ("rule.withdrawn", "bob", "customer/email"),
    ]  # fmt: skip
    assert (said[0]["data"]["sources"], said[0]["data"]["reason"]) == (["erp", "crm"], ANN["reason"])


def test_two_stewards_at_once_get_a_conflict(database: Database) -> None:
    wanted = rules.propose("sku", "size", [], order=["wms", "erp"])
    with database.begin() as connection:
        rules.set_rule(connection, wanted, **ANN, replaces=SHIPPED)
    with (
        pytest.raises(RuleError, match="version 1 holds for sku size, not shipped"),
        database.begin() as connection,
    ):
        rules.set_rule(connection, wanted, by="bob", reason="wms weighs", replaces=SHIPPED)
    with database.begin() as connection:
        assert rules.set_rule(connection, wanted, by="bob", reason="seen", replaces="1").version == "2"


@pytest.mark.parametrize("missing", [{"by": " "}, {"reason": ""}])
def test_a_rule_is_signed(database: Database, missing: dict[str, str]) -> None:
    with pytest.raises(RuleError, match="who set it and why"), database.begin() as connection:
        rules.set_rule(connection, rules.propose("sku", "size", [], order=["wms"]), **{**ANN, **missing})


@pytest.mark.parametrize(
    ("values", "broken"),
    [
        ("'customer', 'email', 'newest', '{crm}', null", "rule_is_known"),
        ("'client', 'email', 'most_recent', '{crm}', null", "entity_is_known"),
        ("'customer', 'email', 'most_recent', null, null", "rule_has_its_order"),
        ("'customer', 'email', null, null, null", "rule_says_something"),
    ],
)
def test_the_store_refuses_rows_that_make_no_sense(database: Database, values: str, broken: str) -> None:
    insert = (
        "insert into orderhub.survivorship_rules (entity, attribute_group, rule, sources, must_agree, set_by, reason) "
        f"values ({values}, 'ann', 'why not')"
    )
    with pytest.raises(IntegrityError, match=broken), database.begin() as connection:
        connection.execute(text(insert))


def test_the_warehouse_gets_a_row_for_every_unit_and_system(database: Database) -> None:
    with database.begin() as connection:
        rules.set_rule(connection, rules.propose("customer", "email", [], order=["shopify", "erp"]), **ANN)
        table = rules.rule_table(rules.effective(connection)).to_pylist()
    assert len(table) == len(rules.shipped().systems) * sum(map(len, UNITS.values()))
    email = {
        row["source_system"]: row for row in table if (row["entity"], row["unit"]) == ("customer", "email")
    }
    assert (email["shopify"]["priority"], email["tryton"]["priority"]) == (1, 2)
    assert email["hubspot"]["priority"] is None
    assert {(row["rule"], row["rule_version"]) for row in email.values()} == {("source_priority", "1")}


NAMES = st.sampled_from(
    [(entity, name) for entity in UNITS for name in {*groups(entity), *attributes(entity)}]
)


@QUICK
@given(
    NAMES,
    st.none() | st.sampled_from([*RULES, "newest"]),
    st.none() | st.lists(st.sampled_from(["crm", "erp", "shopify", "tryton", "nobody"]), max_size=4),
    st.none() | st.booleans(),
)
def test_a_rule_that_is_let_in_holds_for_what_it_names(
    named: tuple[str, str], rule: str | None, order: list[str] | None, must_agree: bool | None
) -> None:
    entity, name = named
    try:
        wanted = rules.propose(entity, name, [], rule=rule, order=order, must_agree=must_agree)
    except RuleError:
        return
    before, after = in_force(rules.shipped(), []), in_force(rules.shipped(), [wanted])
    for old, new in zip(before, after, strict=True):
        is_named = new.entity == entity and name in (new.unit.group, *new.unit.attributes)
        assert is_named or old == new
    named_units = [
        new
        for new in after
        if new.entity == entity and new.version == wanted.version and new.named_by == name
    ]
    if wanted.rule is not None:
        assert any(new.rule == wanted.rule and new.sources == wanted.sources for new in named_units)


def test_the_command_line(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERHUB_DATABASE_URL", database.url.render_as_string(hide_password=False))

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["rules", *words, "--home", str(tmp_path)])

    signed = ("--by", "ann", "--reason", "billing knows best")
    shown = json.loads(run("show", "customer", "--json").stdout)
    assert {line["entity"] for line in shown} == {"customer"}
    refused = run("set", "customer", "emial", "--order", "erp", *signed)
    assert refused.exit_code == 2
    assert "did you mean email" in refused.output
    dry = run("set", "customer", "email", "--order", "erp,crm", *signed, "--dry-run")
    assert dry.exit_code == 2
    assert "run orderhub unify once" in " ".join(dry.output.split())
    assert json.loads(run("history", "--json").stdout) == []
    done = run("set", "customer", "email", "--order", "erp, crm", "--must-agree", *signed)
    assert "version 1" in done.output
    email = next(line for line in json.loads(run("show", "--json").stdout) if line["attributes"] == ["email"])
    assert (email["order"], email["must_agree"], email["version"]) == (["erp", "crm"], ["email"], "1")
    gone = run("withdraw", "1", "--by", "bob", "--reason", "a slip")
    assert gone.exit_code == 0
    assert "what ships" in gone.output
    assert json.loads(run("history", "--json").stdout)[0]["withdrawn_by"] == "bob"
