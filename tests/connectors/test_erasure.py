"""A person leaves the landing: typed rows, pages as received and what waits in quarantine; everybody else stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from connectors.declare import Field, Instant, Kind, Record, Source, Stream
from connectors.erasure import Erased, Person, canonical, erase, tells_of_a_person
from connectors.errors import FatalError
from connectors.extract import land_rows
from connectors.integrity import faulty_pages
from connectors.landing import Landing


class Guest(Record):
    """A guest."""

    guest_id: str = Field(validation_alias="id", min_length=1)
    full_name: str | None = Field(None, validation_alias="name")
    email: str | None = None
    city: str | None = None
    paid: float | None = None
    updated_at: Instant


class Stay(Record):
    """Where a guest stayed."""

    stay_id: str = Field(validation_alias="id", min_length=1)
    guest_id: str | None = Field(None, validation_alias="guest")
    street: str | None = None
    updated_at: Instant


STREAM = Stream(
    name="guests", record=Guest, key=("guest_id",), path="/guests", rows="data", cursor="updated_at"
)
SOURCE = Source.model_construct(name="inn", title="Inn", kind=Kind.CRM, streams=(STREAM,))
AT = "2026-10-01T10:00:00Z"
GUESTS = [
    {"id": "1", "name": "Ann Lee", "email": "ann@a.example", "city": "Bath", "paid": 12.30, "updated_at": AT},
    {"id": "2", "name": "Ann Lee", "email": "other@b.example", "city": "Bath", "paid": 7, "updated_at": AT},
    {"id": "3", "name": "A. Lee", "email": "ANN@a.example ", "city": "Bath", "paid": 1, "updated_at": AT},
]
ANN = {"values": ("Ann Lee", "ann@a.example"), "own": ("ann@a.example",)}


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with closing(Landing(tmp_path / "landing")) as opened:
        yield opened


def pull(landing: Landing, guests: list[dict[str, object]]) -> tuple[str, str]:
    """Land one page; its batch and its name."""
    # The last digit tells whether numbers pass through an erasure as they were written.
    content = json.dumps({"data": guests, "total": 20.3}).replace("20.3", "20.30").encode()
    batch = landing.open_batch("inn", STREAM)
    page = batch.archive(content, "GET /guests")
    batch.count("guests", len(guests))
    land_rows(batch, STREAM, guests, page, has_nul=False)
    batch.commit()
    return batch.batch_id, page


def rows(landing: Landing) -> list[dict[str, object]]:
    tables = [pq.read_table(batch.files["guests"]) for batch in landing.batches()]
    return pa.concat_tables(tables).to_pylist()


def run(landing: Landing, person: Person, **options: object) -> Erased:
    return erase(landing, {"inn": SOURCE}, person, **options)  # type: ignore[arg-type]


def test_a_person_goes_and_a_namesake_stays(landing: Landing) -> None:
    _, page = pull(landing, GUESTS)
    done = run(landing, Person(records=[("inn", page, 0)], **ANN))
    assert done.rows == {("inn", "guests"): 2}
    ann, namesake, same = rows(landing)
    assert (ann["full_name"], ann["email"], ann["guest_id"], ann["city"]) == (None, None, "1", "Bath")
    assert ann["paid"] == 12.30
    assert namesake["full_name"] == "Ann Lee" and namesake["email"] == "other@b.example"
    assert same["email"] is None  # another record, but nobody else has that address


def test_a_page_keeps_all_but_the_person_and_says_so(landing: Landing) -> None:
    _, page = pull(landing, GUESTS)
    done = run(landing, Person(records=[("inn", page, 0)], **ANN))
    with pytest.raises(FatalError, match="a person was erased from it, or"):
        landing.read_page(page)
    content = zstandard.ZstdDecompressor().decompress(landing.page_path(page).read_bytes())
    body = json.loads(content)
    assert body["data"][0] == {**GUESTS[0], "name": "erased", "email": "erased"}
    assert body["data"][1] == GUESTS[1] and b'"total": 20.30' in content
    assert faulty_pages(landing, done.pages) == (1, [])
    assert faulty_pages(landing)[1] and faulty_pages(landing, {page: "00" * 32})[1]


def test_every_version_of_a_record_goes(landing: Landing) -> None:
    _, first = pull(landing, GUESTS[:1])
    pull(landing, [{**GUESTS[0], "name": "Annabel Lee", "updated_at": "2026-10-02T10:00:00Z"}])
    run(landing, Person(records=[("inn", first, 0)], **ANN))
    assert [row["full_name"] for row in rows(landing)] == [None, None]


def test_a_name_of_two_signs_and_what_points_at_the_person_go(landing: Landing) -> None:
    _, page = pull(landing, [{**GUESTS[0], "name": "吕勇"}])
    with_party = Stream(
        name="stays", record=Stay, key=("stay_id",), path="/stays", rows="data", cursor="updated_at"
    )
    inn = Source.model_construct(name="inn", title="Inn", kind=Kind.CRM, streams=(STREAM, with_party))
    content = json.dumps(
        {"data": [{"id": "9", "guest": "1", "street": "1 High Street", "updated_at": AT}]}
    ).encode()
    batch = landing.open_batch("inn", with_party)
    batch.count("stays", 1)
    land_rows(
        batch, with_party, json.loads(content)["data"], batch.archive(content, "GET /stays"), has_nul=False
    )
    batch.commit()
    done = erase(landing, {"inn": inn}, Person(records=[("inn", page, 0)], values=("吕勇",)))
    assert done.rows == {("inn", "guests"): 1, ("inn", "stays"): 1}
    (stay,) = [
        row
        for b in landing.batches()
        if "stays" in b.files
        for row in pq.read_table(b.files["stays"]).to_pylist()
    ]
    assert (stay["street"], stay["guest_id"]) == (None, "1")


def test_a_dry_run_touches_nothing_and_a_second_run_finds_nothing(landing: Landing) -> None:
    _, page = pull(landing, GUESTS)
    person = Person(records=[("inn", page, 0)], **ANN)
    before = rows(landing)
    assert run(landing, person, dry_run=True).rows == {("inn", "guests"): 2}
    assert rows(landing) == before and landing.read_page(page)
    run(landing, person)
    assert run(landing, person).rows == {}


def test_who_was_erased_stays_erased_when_the_source_sends_them_again(landing: Landing) -> None:
    _, page = pull(landing, GUESTS[:1])
    done = run(landing, Person(records=[("inn", page, 0)], **ANN))
    keys = {(source, stream): [key] for source, stream, key in done.keys}
    batch, again = pull(landing, [{**GUESTS[0], "email": "new@a.example"}, GUESTS[1]])
    assert run(landing, Person(keys=keys), only_batches=[batch]).rows == {("inn", "guests"): 1}
    assert [row["email"] for row in rows(landing)] == [None, None, "other@b.example"]
    assert b"new@a.example" not in zstandard.ZstdDecompressor().decompress(
        landing.page_path(again).read_bytes()
    )


def test_a_page_that_is_no_json_goes_whole(landing: Landing) -> None:
    batch = landing.open_batch("inn", STREAM)
    page = batch.archive(b"id,name\n1,Ann Lee\n", "guests.csv")
    batch.count("guests", 1)
    land_rows(batch, STREAM, GUESTS[:1], page, has_nul=False)
    batch.commit()
    done = run(landing, Person(records=[("inn", page, 0)], **ANN))
    assert done.pages == {page: None} and faulty_pages(landing, done.pages) == (1, [])


@pytest.mark.parametrize(
    ("name", "tells"),
    [
        ("shipping_street", True), ("receiver_phone", True), ("firstName", True), ("buyer_nick", True), ("address1", True),
        ("carrier_name", False), ("product_name", False), ("sku_code", False), ("order_number", False), ("currency", False),
        ("warehouse_address", False), ("title", False),
    ],
)  # fmt: skip
def test_names_of_fields_tell_of_persons_or_of_things(name: str, tells: bool) -> None:
    assert tells_of_a_person(name) is tells


def test_values_are_compared_as_people_write_them() -> None:
    assert canonical("＋86 138-0013 8000") == canonical("+8613800138000")
    assert canonical("Ann  LEE ") == canonical("ann lee") != canonical("annlee")
