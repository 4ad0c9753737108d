"""What is older than its rule goes from the landing; what facts are made from stays, and so do the proofs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from connectors.declare import Field, Instant, Kind, Record, Source, Stream
from connectors.errors import FatalError
from connectors.extract import land_rows
from connectors.integrity import faulty_pages
from connectors.landing import QUARANTINE, Landing
from connectors.retention import Retained, RetentionError, Rule, read_rules, retain, rule_for


class Guest(Record):
    """A guest."""

    guest_id: str = Field(validation_alias="id", min_length=1)
    email: str | None = None
    paid: float = 0
    updated_at: Instant


STREAM = Stream(
    name="guests", record=Guest, key=("guest_id",), path="/guests", rows="data", cursor="updated_at"
)
SOURCES = {"inn": Source.model_construct(name="inn", title="Inn", kind=Kind.CRM, streams=(STREAM,))}


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with closing(Landing(tmp_path / "landing")) as opened:
        yield opened


def pull(landing: Landing, *guests: dict[str, object]) -> str:
    """Land one page, past gate 1; its name."""
    batch = landing.open_batch("inn", STREAM)
    page = batch.archive(json.dumps({"data": guests}).encode(), "GET /guests")
    batch.count("guests", len(guests))
    land_rows(batch, STREAM, guests, page)
    batch.commit()
    landing.pass_gate(batch.batch_id, "", ())
    return page


def guest(number: str, email: str, day: int, **more: object) -> dict[str, object]:
    return {"id": number, "email": email, "paid": 7.5, "updated_at": f"2026-10-{day:02d}T10:00:00Z", **more}


def rule(part: str, days: int, stream: str = "*") -> Rule:
    return Rule.model_validate(
        {
            "source_system": "*" if stream == "*" else "inn",
            "stream": stream,
            "part": part,
            "keep_days": days,
            "reason": "law",
        }
    )


def later(days: int) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def rows(landing: Landing) -> list[dict[str, object]]:
    return pa.concat_tables([pq.read_table(batch.files["guests"]) for batch in landing.batches()]).to_pylist()


def test_pages_go_once_every_batch_may_let_them_go_and_typed_rows_stay(landing: Landing) -> None:
    page = pull(landing, guest("1", "ann@a.example", 1))
    assert retain(landing, SOURCES, [rule("pages", 30)], later(29)) == Retained()
    done = retain(landing, SOURCES, [rule("pages", 30)], later(31))
    assert done.pages == {page: None}
    with pytest.raises(FatalError, match="retention let it go"):
        landing.read_page(page)
    assert faulty_pages(landing, done.pages) == (1, [])
    assert len(faulty_pages(landing)[1]) == 1
    assert rows(landing)[0]["email"] == "ann@a.example"
    assert retain(landing, SOURCES, [rule("pages", 30)], later(31)) == Retained()


def test_superseded_versions_lose_the_person_and_the_newest_keeps_everything(landing: Landing) -> None:
    first = pull(landing, guest("1", "old@a.example", 1), guest("2", "bob@b.example", 1))
    second = pull(landing, guest("1", "new@a.example", 2))
    pull(landing, guest("2", "bob@b.example", 1))  # came again, unchanged
    tried = retain(landing, SOURCES, [rule("versions", 30)], later(31), dry_run=True)
    assert len(rows(landing)) == 4 and "old@a.example" in {row["email"] for row in rows(landing)}
    done = retain(landing, SOURCES, [rule("versions", 30)], later(31))
    assert (done.rows, done.pages, done.batches) == (tried.rows, tried.pages, tried.batches)
    assert done.rows == {("inn", "guests"): 1}
    assert [(row["guest_id"], row["email"], row["paid"]) for row in rows(landing)] == [
        ("1", None, 7.5), ("2", "bob@b.example", 7.5), ("1", "new@a.example", 7.5), ("2", "bob@b.example", 7.5),
    ]  # fmt: skip
    assert set(done.pages) == {first}
    assert b"new@a.example" in landing.read_page(second)
    assert faulty_pages(landing, done.pages)[1] == []
    assert retain(landing, SOURCES, [rule("versions", 30)], later(31)) == Retained()


def test_what_waits_in_quarantine_loses_the_person_and_still_waits(landing: Landing) -> None:
    pull(landing, {"id": "", "email": "ann@a.example", "updated_at": "2026-10-01T10:00:00Z"})
    before = landing.counts()
    done = retain(landing, SOURCES, [rule("quarantine", 30)], later(31))
    assert done.quarantined == {("inn", "guests"): 1}
    assert landing.counts() == before
    with landing.transaction() as connection:
        assert "ann@a.example" not in connection.execute(sa.select(QUARANTINE.c.payload)).scalar_one()
    assert retain(landing, SOURCES, [rule("quarantine", 30)], later(31)) == Retained()


def test_the_most_specific_rule_counts(landing: Landing) -> None:
    rules = [rule("pages", 10), rule("pages", 90, "guests")]
    assert rule_for(rules, "inn", "guests", "pages") == rules[1]
    assert rule_for(rules, "inn", "stays", "pages") == rules[0]
    assert rule_for(rules, "inn", "guests", "versions") is None
    pull(landing, guest("1", "ann@a.example", 1))
    assert retain(landing, SOURCES, rules, later(31)) == Retained()


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("inn,guests,pages,-1,law", "line 3: keep_days"),
        ("inn,guests,bytes,9,law", "line 3: part"),
        ("inn,guests,pages,9,", "line 3: reason"),
        ("pub,*,pages,9,law", "line 3: there is no source pub"),
        ("inn,stays,pages,9,law", "line 3: inn has no stream stays"),
        ("*,guests,pages,9,law", "line 3: .* has no stream guests"),
        ("*,*,pages,9,law", "line 3: says the same as an earlier line"),
    ],
)
def test_a_wrong_rule_is_named_by_its_line(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "rules.csv"
    path.write_text(f"source_system,stream,part,keep_days,reason\n*,*,pages,30,law\n{line}\n")
    with pytest.raises(RetentionError, match=fault):
        read_rules(path, SOURCES)
    with pytest.raises(RetentionError, match="cannot be read"):
        read_rules(tmp_path / "none.csv", SOURCES)
