"""Landing keeps what came in: counts that add up, values that read back equal, cursors that never go back."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connectors import landing as landing_room
from connectors import quarantine
from connectors.declare import (
    Amount,
    Child,
    ControlTotal,
    Country,
    Currency,
    Field,
    FloatAmount,
    Gtin,
    Instant,
    Kind,
    Phone,
    Quantity,
    Record,
    Source,
    Stream,
    UtcInstant,
)
from connectors.errors import FatalError
from connectors.extract import PullResult, land_rows, payload_text
from connectors.landing import FILES, QUARANTINE, Landing, Rejection, RowOrigin

QUICK = settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
# What UTF-8 can write, without NUL, which the kit refuses.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
INSTANTS = st.datetimes(
    datetime(2, 1, 1),
    datetime(9998, 1, 1),
    timezones=st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


class Thing(Record):
    """One of every type a field may have."""

    key: str
    amount: Amount | None = None
    rough: FloatAmount | None = None
    qty: Quantity | None = None
    at: Instant | None = None
    utc: UtcInstant | None = None
    on: date | None = None
    number: int | None = None
    ratio: float | None = None
    is_so: bool | None = None
    tags: list[str] | None = None
    sizes: list[int] | None = None
    barcode: Gtin | None = None
    phone: Phone | None = None
    country: Country | None = None


class Part(Record):
    """A child with a rule that may be broken."""

    name: str
    size: int = Field(ge=0)


class Whole(Record):
    """A parent with a rule that may be broken, and a cursor."""

    key: str = Field(min_length=1)
    at: UtcInstant
    amount: Amount | None = None
    currency: Currency = "EUR"
    is_good: bool = True


THINGS = Stream(name="things", record=Thing, key=("key",), path="/things")
WHOLES = Stream(
    name="wholes",
    record=Whole,
    key=("key",),
    path="/wholes",
    cursor="at",
    children=(
        Child(
            name="parts",
            path="parts",
            record=Part,
            parent={"whole_key": "key", "whole_at": "at", "whole_amount": "amount"},
        ),
    ),
    control_totals=(ControlTotal(amount="amount", currency="currency"),),
)
SOURCE = Source(name="made_up", title="Made up", kind=Kind.ERP, owner="tests", streams=(WHOLES, THINGS))


@contextmanager
def fresh() -> Iterator[Landing]:
    """An empty landing folder for one example."""
    with TemporaryDirectory() as folder:
        landing = Landing(Path(folder))
        try:
            yield landing
        finally:
            landing.close()


def rows_of(landing: Landing, stream: str) -> list[dict[str, Any]]:
    paths = [batch.files[stream] for batch in landing.batches() if stream in batch.files]
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def land(landing: Landing, stream: Stream, raws: list[Any], **options: Any) -> landing_room.Batch:
    """Archive, land and commit one page."""
    batch = landing.open_batch("made_up", stream)
    digest = batch.archive(payload_text(raws).encode(), "page")
    batch.count(stream.name, len(raws))
    seen = land_rows(batch, stream, raws, digest, has_nul=True)
    options.setdefault("cursor_after", seen)
    batch.commit(**options)
    return batch


# What is read back is what came


@QUICK
@given(
    st.lists(
        st.fixed_dictionaries(
            {"key": TEXT},
            optional={
                "amount": st.decimals(-(10**13), 10**13, places=4).map(str),
                "rough": st.floats(-1e9, 1e9),
                "qty": st.decimals(-(10**11), 10**11, places=6).map(str),
                "at": INSTANTS.map(datetime.isoformat),
                "utc": st.datetimes(datetime(2, 1, 1)).map(datetime.isoformat),
                "on": st.dates().map(date.isoformat),
                "number": st.integers(-(2**63), 2**63 - 1),
                "ratio": st.floats(allow_nan=False),
                "is_so": st.booleans(),
                "tags": st.lists(TEXT),
                "sizes": st.lists(st.integers(-(2**63), 2**63 - 1)),
                "barcode": TEXT,
                "phone": TEXT,
                "country": TEXT,
            },
        ),
        min_size=1,
        max_size=8,
    )
)
def test_typed_rows_read_back_equal(raws: list[dict[str, Any]]) -> None:
    with fresh() as landing:
        batch = land(landing, THINGS, raws)
        assert batch.rejections == []
        found = rows_of(landing, "things")
    assert len(found) == len(raws)
    for raw, row in zip(raws, found, strict=True):
        for name in ("key", "number", "ratio", "is_so", "barcode", "phone", "country"):
            assert row[name] == raw.get(name)
        for name in ("amount", "qty"):
            assert row[name] == (Decimal(raw[name]) if name in raw else None)
        if "rough" in raw:
            assert abs(row["rough"] - Decimal(repr(raw["rough"]))) <= Decimal("0.00005")
        for name in ("tags", "sizes"):
            assert (json.loads(row[name]) if row[name] is not None else None) == raw.get(name)
        assert row["on"] == (date.fromisoformat(raw["on"]) if "on" in raw else None)
        if "at" in raw:
            at = datetime.fromisoformat(raw["at"])
            assert row["at"] == at
            assert timedelta(minutes=row["at_offset_minutes"]) == at.utcoffset()
        if "utc" in raw:
            assert row["utc"] == datetime.fromisoformat(raw["utc"]).replace(tzinfo=UTC)
        assert row["_batch_id"] == batch.batch_id


@QUICK
@given(st.binary(max_size=2000))
def test_a_page_is_kept_to_the_byte_and_tampering_shows(content: bytes) -> None:
    with fresh() as landing:
        digest = landing.archive(content)
        assert landing.archive(content) == digest
        assert landing.read_page(digest) == content
        path = landing.page_path(digest)
        path.write_bytes(zstandard.ZstdCompressor().compress(content + b"!"))
        with pytest.raises(FatalError, match="was changed after it was archived"):
            landing.read_page(digest)
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(FatalError, match="was changed after it was archived"):
            landing.read_page(digest)
        path.unlink()
        with pytest.raises(FatalError, match="is not in the archive"):
            landing.read_page(digest)


# Any series of batches

GOOD_PART = st.fixed_dictionaries({"name": TEXT, "size": st.integers(0, 9)})
BAD_PART = st.fixed_dictionaries({"name": TEXT, "size": st.integers(-9, -1)})
MINUTES = st.integers(0, 600)


def _whole(key: str, minute: int, amount: Any, currency: str, parts: list[Any]) -> dict[str, Any]:
    at = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)).isoformat()
    return {"key": key, "at": at, "amount": amount, "currency": currency, "parts": parts}


WHOLE = st.builds(
    _whole,
    st.sampled_from(["", "a", "b", "c"]),
    MINUTES,
    st.one_of(st.none(), st.decimals(-100, 100, places=2).map(str), st.just("much")),
    st.sampled_from(["EUR", "JPY", "???"]),
    st.lists(st.one_of(GOOD_PART, BAD_PART), max_size=3),
)


def _is_good(raw: dict[str, Any]) -> bool:
    return bool(raw["key"]) and raw["currency"] != "???" and raw["amount"] != "much"


class Batches(RuleBasedStateMachine):
    """Whatever is committed, abandoned, gated, held and replayed, in whatever order: the books add up."""

    @initialize()
    def start(self) -> None:
        self.folder = TemporaryDirectory()
        self.landing = Landing(Path(self.folder.name))
        self.pulled = {"wholes": 0, "parts": 0}
        self.waiting = {"wholes": 0, "parts": 0}
        self.totals: dict[str, Decimal] = {}
        self.cursor: datetime | None = None
        self.committed: list[str] = []

    def teardown(self) -> None:
        if hasattr(self, "landing"):
            self.landing.close()
            self.folder.cleanup()

    @rule(raws=st.lists(WHOLE, max_size=5), is_kept=st.booleans())
    def pull(self, raws: list[dict[str, Any]], is_kept: bool) -> None:
        batch = self.landing.open_batch("made_up", WHOLES)
        digest = batch.archive(payload_text(raws).encode(), "page")
        batch.count("wholes", len(raws))
        seen = land_rows(batch, WHOLES, raws, digest)
        if not is_kept:
            batch.abandon()
            return
        batch.commit(cursor_before=self.cursor, cursor_after=seen)
        good = [raw for raw in raws if _is_good(raw)]
        parts = [part for raw in good for part in raw["parts"]]
        self.pulled["wholes"] += len(raws)
        self.pulled["parts"] += len(parts)
        self.waiting["wholes"] += len(raws) - len(good)
        self.waiting["parts"] += sum(part["size"] < 0 for part in parts)
        for raw in good:
            if raw["amount"] is not None:
                self.totals[raw["currency"]] = self.totals.get(raw["currency"], Decimal(0)) + Decimal(
                    raw["amount"]
                )
        times = [datetime.fromisoformat(raw["at"]) for raw in good]
        self.cursor = max([*times, *([self.cursor] if self.cursor else [])], default=None)
        self.committed.append(batch.batch_id)

    @precondition(lambda self: self.landing.batches(gate="pending"))
    @rule(is_fit=st.booleans(), rejects=st.booleans())
    def gate(self, is_fit: bool, rejects: bool) -> None:
        batch = self.landing.batches(gate="pending")[0]
        if not is_fit:
            self.landing.hold(batch.batch_id, "unfit")
            return
        rejections = []
        if rejects and "wholes" in batch.files:
            row = pq.read_table(batch.files["wholes"]).to_pylist()[0]
            origin = RowOrigin(row["_page_sha256"], row["_row_index"], row["_record_hash"])
            rejections = [Rejection("wholes", origin, "{}", "not fit", stage="gate")]
            self.waiting["wholes"] += 1
        self.landing.pass_gate(batch.batch_id, "fit", rejections)
        assert [row[2] for row in self.landing.gated_rows(batch.batch_id)] == [
            r.origin.row_index for r in rejections
        ]

    @rule()
    def settle(self) -> None:
        before = {batch.batch_id for batch in self.landing.batches(gate="pending") if batch.changed == 0}
        assert self.landing.pass_unchanged() == len(before)

    @rule(is_dry=st.booleans())
    def replay(self, is_dry: bool) -> None:
        rows = quarantine.list_rows(self.landing, "made_up")
        counts, batches = self.landing.counts(), self.landing.batches()
        for result in quarantine.replay(self.landing, SOURCE, rows, dry_run=is_dry):
            assert result.landed == 0, "nothing was mended"
        assert self.landing.counts() == counts
        assert self.landing.batches() == batches

    @invariant()
    def books_add_up(self) -> None:
        if not hasattr(self, "landing"):
            return
        for count in self.landing.counts():
            assert count.pulled == count.landed + count.quarantined
            assert (count.pulled, count.quarantined) == (
                self.pulled[count.stream],
                self.waiting[count.stream],
            )
        assert self.landing.cursor("made_up", "wholes") == self.cursor
        assert [batch.batch_id for batch in self.landing.batches()] == self.committed
        totals = {
            key[3]: amount
            for key, amount in self.landing.control_totals().items()
            if amount or key[3] in self.totals
        }
        assert totals == self.totals
        visible = sum(
            pq.read_metadata(batch.files["wholes"]).num_rows
            for batch in self.landing.batches()
            if "wholes" in batch.files
        )
        gated = sum(len(self.landing.gated_rows(batch)) for batch in self.committed)
        landed = sum(count.landed for count in self.landing.counts() if count.stream == "wholes")
        assert visible == landed + gated, "what the manifest counts is in the files"


TestBatches = Batches.TestCase
TestBatches.settings = settings(
    max_examples=12,
    stateful_step_count=12,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


# Change, cursor, drift


def _versions(*texts: str) -> list[dict[str, Any]]:
    return [{"key": "k", "country": text} for text in texts]


def test_going_back_to_an_earlier_value_is_a_change(landing: Landing) -> None:
    changed = []
    for page in (["A"], ["A"], ["B"], ["A"], ["A"]):
        land(landing, THINGS, _versions(*page))
        changed.append(landing.batches()[-1].changed)
    assert changed == [1, 0, 1, 1, 0]


def test_two_versions_in_one_page_are_known_when_they_come_again(landing: Landing) -> None:
    changed = []
    for page in (["A", "B"], ["A", "B"], ["B", "A"], ["C", "B"], ["A"]):
        land(landing, THINGS, _versions(*page))
        changed.append(landing.batches()[-1].changed)
    assert changed == [2, 0, 0, 1, 1]


def test_what_a_held_batch_brought_is_still_news(landing: Landing) -> None:
    land(landing, THINGS, _versions("A"))
    landing.hold(landing.batches()[0].batch_id, "unfit")
    land(landing, THINGS, _versions("A"))
    assert landing.batches()[-1].changed == 1
    assert landing.pass_unchanged() == 0
    assert [batch.gate for batch in landing.batches()] == ["held", "pending"]


def test_a_batch_that_was_settled_beside_one_held_later_is_judged_itself(landing: Landing) -> None:
    for _ in range(3):
        land(landing, THINGS, _versions("A"))
    land(landing, WHOLES, [_whole("a", 0, "1", "EUR", [])])
    land(landing, WHOLES, [_whole("a", 0, "1", "EUR", [])])
    first, *_ = landing.batches()
    assert landing.pass_unchanged() == 3
    landing.hold(first.batch_id, "unfit")
    assert [(batch.stream, batch.gate) for batch in landing.batches()] == [
        ("things", "held"), ("things", "pending"), ("things", "pending"), ("wholes", "pending"), ("wholes", "unchanged"),
    ]  # fmt: skip
    assert landing.pass_unchanged() == 0, "their rows are nowhere else"


def test_a_cursor_never_goes_back_even_when_a_slower_pull_commits_last(landing: Landing) -> None:
    early, late = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2))
    slow, fast = landing.open_batch("made_up", THINGS), landing.open_batch("made_up", THINGS)
    fast.commit(None, late)
    slow.commit(None, early)
    assert landing.cursor("made_up", "things") == late
    landing.open_batch("made_up", THINGS).commit(late, None)
    assert landing.cursor("made_up", "things") == late


def test_the_next_pull_begins_a_lag_before_the_cursor(
    desk: Any, kit: SimpleNamespace, landing: Landing, pull_shop: Callable[..., dict[str, PullResult]]
) -> None:
    def asked() -> list[str | None]:
        found = [query.get("since") for path, query, _ in desk.seen if path == "/orders"]
        desk.seen.clear()
        return found

    pull_shop()
    assert asked() == [None]
    pull_shop()
    assert asked() == ["2026-03-01T01:50:00+00:00"], "ten minutes before 10:00+08:00"
    assert len(rows_of(landing, "orders")) == 2, "the overlap lands again, with the same hash"
    assert len({row["_record_hash"] for row in rows_of(landing, "orders")}) == 1
    pull_shop(full=True)
    assert asked() == [None]
    february = datetime(2026, 2, 1, tzinfo=UTC)
    pull_shop(since=february)
    assert asked() == [february.isoformat()]
    desk.routes["/orders"] = kit.Reply({"orders": [kit.order(9, updated_at="2026-04-01T00:00:00Z")]})
    pull_shop(since=datetime(2026, 3, 20, tzinfo=UTC))
    assert landing.cursor("shop", "orders") == datetime(2026, 3, 1, 2, tzinfo=UTC), "a gap is not jumped"
    desk.routes["/orders"] = kit.Reply({"orders": [kit.order(9, updated_at="2926-04-01T00:00:00Z")]})
    pull_shop()
    cursor = landing.cursor("shop", "orders")
    assert cursor is not None
    assert cursor <= datetime.now(UTC), "a change time in the future hides nothing that comes until then"


def test_what_the_source_commits_late_is_not_lost(
    desk: Any, kit: SimpleNamespace, landing: Landing, pull_shop: Callable[..., dict[str, PullResult]]
) -> None:
    """A long transaction shows its record minutes after others that were stamped later."""
    first = datetime(2026, 3, 1, 2, tzinfo=UTC)
    held = [kit.order(1, updated_at=first.isoformat())]

    def answer(query: dict[str, str]) -> Any:
        since = datetime.fromisoformat(query.get("since", "2000-01-01T00:00:00+00:00"))
        return kit.Reply(
            {"orders": [order for order in held if datetime.fromisoformat(order["updated_at"]) >= since]}
        )

    desk.routes["/orders"] = answer
    pull_shop()
    assert landing.cursor("shop", "orders") == first
    held.append(kit.order(2, updated_at=(first - timedelta(minutes=9)).isoformat()))
    result = pull_shop()["orders"]
    assert (result.changed, landing.cursor("shop", "orders")) == (1, first)
    assert {row["order_id"] for row in rows_of(landing, "orders")} == {"o1", "o2"}


def test_fields_that_come_and_go_are_reported(
    desk: Any, kit: SimpleNamespace, landing: Landing, pull_shop: Callable[..., dict[str, PullResult]]
) -> None:
    assert pull_shop()["orders"].drift == {}
    line = {"sku": "A", "qty": "1", "weight": 3}
    desk.routes["/orders"] = kit.Reply({"orders": [kit.order(1, colour="red", lines=[line])]})
    assert pull_shop()["orders"].drift == {
        "orders": {"added": ["colour"], "removed": []}, "order_lines": {"added": ["weight"], "removed": []},
    }  # fmt: skip
    desk.routes["/orders"] = kit.Reply({"orders": []})
    assert pull_shop()["orders"].drift == {}, "an empty answer has no fields to miss"
    desk.routes["/orders"] = kit.Reply({"orders": [kit.order(1, note="x")]})
    assert pull_shop()["orders"].drift["orders"] == {"added": ["note"], "removed": ["colour"]}


# Quarantine


def mend(landing: Landing, old: str, new: str) -> None:
    """What a mended model or declaration does, told from the payload's side."""
    with landing.transaction() as connection:
        connection.execute(
            sa.update(QUARANTINE).values(payload=sa.func.replace(QUARANTINE.c.payload, old, new))
        )


def test_a_replay_lands_each_row_once_with_its_children(landing: Landing) -> None:
    parts = [{"name": "x", "size": 1}, {"name": "y", "size": 2}]
    land(landing, WHOLES, [_whole("a", 0, "1", "EUR", parts), _whole("b", 9, "2", "???", parts)])
    (first,) = quarantine.list_rows(landing)
    mend(landing, "???", "JPY")
    rows = quarantine.list_rows(landing)
    (would,) = quarantine.replay(landing, SOURCE, rows, dry_run=True)
    assert (would.landed, would.batch_id) == (1, None)
    assert len(landing.batches()) == 1, "a dry run changes nothing"
    assert [row.quarantine_id for row in quarantine.list_rows(landing)] == [first.quarantine_id]
    (done,) = quarantine.replay(landing, SOURCE, rows)
    assert (done.tried, done.landed, done.still_wrong) == (1, 1, {})
    assert quarantine.replay(landing, SOURCE, rows) == [], "a stale list lands nothing twice"
    assert quarantine.list_rows(landing) == []
    assert [(row["key"], row["currency"]) for row in rows_of(landing, "wholes")] == [
        ("a", "EUR"),
        ("b", "JPY"),
    ]
    assert len(rows_of(landing, "parts")) == 4
    hashes = {row["key"]: row["_record_hash"] for row in rows_of(landing, "wholes")}
    assert all(row["_parent_hash"] == hashes[row["whole_key"]] for row in rows_of(landing, "parts"))
    assert [(count.stream, count.pulled, count.landed, count.quarantined) for count in landing.counts()] == [
        ("parts", 4, 4, 0), ("wholes", 2, 2, 0),
    ]  # fmt: skip
    amounts = {key[3]: amount for key, amount in landing.control_totals().items()}
    assert amounts == {"EUR": Decimal(1), "JPY": Decimal(2)}


def test_a_replayed_child_keeps_its_parent_and_reaches_the_gate(landing: Landing) -> None:
    raws = [_whole("a", 0, "1.50", "EUR", [{"name": "x", "size": -4}, {"name": "y", "size": 2}])]
    land(landing, WHOLES, raws)
    first = landing.batches()[0]
    landing.pass_gate(first.batch_id, "fit", [])
    mend(landing, "-4", "4")
    (done,) = quarantine.replay(landing, SOURCE, quarantine.list_rows(landing))
    assert (done.stream, done.landed) == ("parts", 1)
    assert landing.pass_unchanged() == 0, "a row that was never loaded is news"
    assert [batch.batch_id for batch in landing.batches(gate="pending")] == [done.batch_id]
    kept, replayed = rows_of(landing, "parts")
    own = {"name", "size", "_batch_id", "_child_index", "_record_hash"}
    assert {k: v for k, v in kept.items() if k not in own} == {
        k: v for k, v in replayed.items() if k not in own
    }
    assert (replayed["whole_amount"], replayed["_child_index"]) == (Decimal("1.5"), 0)


def test_a_replayed_row_does_not_outrank_a_newer_version(landing: Landing) -> None:
    land(landing, WHOLES, [_whole("a", 0, "1", "???", [])])
    land(landing, WHOLES, [_whole("a", 0, "2", "EUR", [])])
    mend(landing, "???", "EUR")
    quarantine.replay(landing, SOURCE, quarantine.list_rows(landing))
    newest = max(rows_of(landing, "wholes"), key=lambda row: (row["_extracted_at"], row["_batch_id"]))
    assert newest["amount"] == Decimal(2)


def test_what_no_database_can_keep_is_not_replayed_either(landing: Landing) -> None:
    land(landing, THINGS, [{"key": "a\x00b"}, {"key": "c", "number": 2**63}])
    assert [count.quarantined for count in landing.counts()] == [2]
    (result,) = quarantine.replay(landing, SOURCE, quarantine.list_rows(landing))
    assert (result.tried, result.landed, len(result.still_wrong)) == (2, 0, 2)


def test_a_replay_says_nothing_about_what_the_source_sends_today(landing: Landing) -> None:
    land(landing, WHOLES, [_whole("a", 0, "1", "EUR", [])])
    land(landing, WHOLES, [_whole("b", 1, "1", "???", [])])
    mend(landing, "???", "EUR")
    quarantine.replay(landing, SOURCE, quarantine.list_rows(landing))
    batch = land(landing, WHOLES, [_whole("a", 0, "1", "EUR", [])])
    assert batch.drift() == {}


def test_two_replays_at_once_land_a_row_once(landing: Landing) -> None:
    land(landing, WHOLES, [_whole("a", 0, "1", "???", [])])
    mend(landing, "???", "EUR")
    (row,) = quarantine.list_rows(landing)
    racing = landing.open_batch("made_up", WHOLES)
    racing.count("wholes", 1)
    land_rows(racing, WHOLES, [json.loads(row.payload)], row.page_sha256)
    quarantine.replay(landing, SOURCE, [row])
    with pytest.raises(FatalError, match="replayed by somebody else"):
        racing.commit(replayed=("wholes", [row.quarantine_id]))
    assert [count.landed for count in landing.counts() if count.stream == "wholes"] == [1]
    with pytest.raises(FatalError, match="belongs to made_up"):
        quarantine.replay(landing, SOURCE.model_copy(update={"name": "other"}), [row])


# The folder


def test_many_processes_may_open_a_new_folder_at_once(tmp_path: Path) -> None:
    barrier, failures = threading.Barrier(8), []

    def start() -> None:
        barrier.wait()
        try:
            landing = Landing(tmp_path / "new")
            land(landing, THINGS, _versions("A"))
            landing.close()
        except Exception as error:  # shown below
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    landing = Landing(tmp_path / "new")
    assert len(landing.batches()) == 8
    landing.close()


def test_a_sweep_takes_only_what_nobody_names_and_nobody_wrote_lately(landing: Landing) -> None:
    land(landing, THINGS, _versions("A"))
    committed = landing.batches()[0].files["things"]
    page = next((landing.root / "pages").glob("*/*.zst"))
    killed = [committed.with_name("x.parquet"), committed.with_name("y.tmp"), page.with_name("z.zst.1.tmp")]
    for path in [*killed, committed.with_name("fresh.tmp")]:
        path.write_bytes(b"half")
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    for path in [*killed, committed, page]:
        os.utime(path, (long_ago, long_ago))
    assert sorted(landing.sweep()) == sorted(killed)
    assert landing.sweep() == []
    assert committed.exists()
    assert page.exists()
    assert committed.with_name("fresh.tmp").exists(), "somebody may still write it"
    assert len(rows_of(landing, "things")) == 1


def test_an_abandoned_batch_leaves_no_file(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing_room, "_FLUSH_ROWS", 1)
    batch = landing.open_batch("made_up", THINGS)
    for text in "abc":
        land_rows(batch, THINGS, _versions(text), batch.archive(text.encode(), "page"))
    assert list(landing.root.glob("*/*/*.tmp")) != []
    batch.abandon()
    assert list(landing.root.glob("*/*/*.tmp")) == []
    assert list(landing.root.glob("*/*/*.parquet")) == []
    with landing.transaction() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(FILES)) == 0
