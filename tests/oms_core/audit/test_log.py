"""The audit log's tree: proofs against the definition in RFC 6962, and the log in PostgreSQL against the whole tree."""

from __future__ import annotations

import hashlib
import json

import psycopg
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from oms_core.audit import log, merkle
from oms_core.audit.canonical import canonical
from oms_core.store.postgres import Database


def mth(leaves: list[bytes]) -> bytes:
    """The definition, as RFC 6962 writes it, over leaf data."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + mth(leaves[:split]) + mth(leaves[split:])).digest()


def tree_of(leaves: list[bytes], ranges: list[tuple[int, int]]) -> list[bytes]:
    return [
        merkle.joined([mth(leaves[p << level : (p + 1) << level]) for level, p in merkle.cover(*span)])
        for span in ranges
    ]


@given(st.integers(1, 70), st.data())
def test_inclusion_proofs_follow_the_definition(size: int, data: st.DataObject) -> None:
    leaves = [str(number).encode() for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path = tree_of(leaves, merkle.inclusion_ranges(index, size))
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    assert path == merkle.inclusion_proof(b"".join(hashes), index)
    assert merkle.proves_inclusion(hashes[index], index, size, path, mth(leaves))


@given(st.integers(1, 70), st.data())
def test_growth_is_proven_and_a_change_of_the_past_is_not(size: int, data: st.DataObject) -> None:
    leaves = [str(number).encode() for number in range(size)]
    before = data.draw(st.integers(1, size))
    path = tree_of(leaves, merkle.consistency_ranges(before, size))
    assert merkle.proves_growth(before, size, path, mth(leaves[:before]), mth(leaves))
    forged = [b"other", *leaves[1:before]]
    assert not merkle.proves_growth(before, size, path, mth(forged), mth(leaves))
    if before < size:
        assert not merkle.proves_growth(before, size, path, mth(leaves[:before]), mth([*leaves[:-1], b"x"]))


def happenings(count: int, first: int = 0) -> list[log.Happening]:
    return [
        log.Happening("test.happened", "anna", f"thing/{number}", {"amount": "1.10", "名": "ü"})
        for number in range(first, first + count)
    ]


@pytest.mark.parametrize("batches", [[1], [15, 1], [16], [17, 15], [3, 1, 40, 1, 130], [64, 64, 1]])
def test_the_root_is_that_of_the_whole_tree_however_entries_came(
    database: Database, batches: list[int]
) -> None:
    for count in batches:
        with database.begin() as connection:
            log.append(connection, happenings(count, log.size(connection)))
    with database.begin() as connection:
        entries = log.read(connection, limit=1000)
        data = [entry.canonical for entry in entries]
        for size in range(len(data) + 1):
            assert log.root(connection, size) == (size, mth(data[:size]))
        kept = connection.execute(text("SELECT level, position, hash FROM orderhub.audit_nodes")).all()
        assert len(kept) == sum(len(data) >> level for level in range(4, 12))
        for level, position, stored in kept:
            assert bytes(stored) == mth(data[position << level : (position + 1) << level])


def test_an_entry_is_canonical_json_and_proven_by_a_few_lines(database: Database) -> None:
    with database.begin() as connection:
        assert log.append(connection, happenings(37)) == range(37)
        entry = log.read(connection, after=20, limit=1)[0]
        proof = log.prove(connection, 21, 33)
        growth = log.prove_growth(connection, 33)
        roots = [log.root(connection, size)[1] for size in (33, 37)]
    assert entry.canonical == rfc8785.dumps(json.loads(entry.canonical))
    assert (entry.said["seq"], entry.said["actor"], entry.said["data"]["名"]) == (21, "anna", "ü")

    found, index, last = hashlib.sha256(b"\0" + entry.canonical).digest(), 21, 32
    for beside in proof.path:  # RFC 9162, 2.1.3.2, written down once more
        if index % 2 or index == last:
            found = hashlib.sha256(b"\1" + beside + found).digest()
            while index % 2 == 0 and index:
                index, last = index // 2, last // 2
        else:
            found = hashlib.sha256(b"\1" + found + beside).digest()
        index, last = index // 2, last // 2
    assert found == proof.root == roots[0] and last == 0
    assert proof.holds()
    assert merkle.proves_growth(33, 37, growth, roots[0], roots[1])


def test_canonical_json_is_that_of_the_published_examples() -> None:
    # RFC 8785, 3.2.2 with its result in 3.2.4, and the order of names of 3.2.3.
    said = json.loads(
        r"""{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"""
    )
    assert canonical(said) == (
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        b'"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(dict.fromkeys(names, "")))) == ordered


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["\ud800", "\x7f"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(_JSON | st.dictionaries(st.integers(), st.none(), min_size=1))
def test_canonical_json_is_that_of_its_reference_whatever_is_in_it(value: object) -> None:
    try:
        expected = rfc8785.dumps(value)
    except rfc8785.CanonicalizationError:
        with pytest.raises(rfc8785.CanonicalizationError):
            canonical(value)
    else:
        assert canonical(value) == expected


def test_what_is_undone_was_never_logged(database: Database) -> None:
    with database.begin() as connection:
        log.append(connection, happenings(2))
    with database.begin() as connection:
        log.append(connection, happenings(1, 2))
        connection.rollback()
    with database.begin() as connection:
        assert log.size(connection) == 2


@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize(("table", "column"), [("audit_entries", "seq"), ("audit_nodes", "level")])
def test_the_tables_refuse_to_be_changed(database: Database, statement: str, table: str, column: str) -> None:
    with pytest.raises(DBAPIError, match="append-only") as refused, database.begin() as connection:
        connection.execute(text(statement.format(f"orderhub.{table}", column, column)))
    assert isinstance(refused.value.orig, psycopg.errors.RaiseException)


def test_what_canonical_json_cannot_hold_is_refused(database: Database) -> None:
    with (
        pytest.raises(log.AuditError, match=r"test\.happened of x cannot be logged"),
        database.begin() as connection,
    ):
        log.append(connection, [log.Happening("test.happened", "anna", "x", {"n": float("nan")})])


@pytest.mark.parametrize(("seq", "size"), [(5, None), (-1, None), (0, 9)])
def test_a_proof_of_what_is_not_there_is_refused(database: Database, seq: int, size: int | None) -> None:
    with database.begin() as connection:
        log.append(connection, happenings(5))
        with pytest.raises(log.AuditError):
            log.prove(connection, seq, size)
