"""Dealers' rebates: files in every form say the same, and what does not add up waits in quarantine whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pytest

from connectors.extract import PullResult
from connectors.file_conformance import FileConformance
from connectors.files import pull_feeds
from connectors.landing import Landing
from connectors.quarantine import list_rows
from connectors.sandbox.dealer_rebates import agreements, claims, known_number, rebate_truths, write_rebates
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.generate import advance, generate
from connectors.sandbox.world import World
from connectors.sources.dealer_rebates import SOURCE, read_interchange

WORLD = generate(7, 350)
CLEAN = Dirt(7, "dealer_rebates", "none")


class TestDealerRebates(FileConformance):
    source = SOURCE
    orders = 120

    @staticmethod
    def write(world: World, folder: Path) -> list[Path]:
        return write_rebates(world, CLEAN, folder)


def drop(tmp_path: Path, world: World = WORLD, dirt: Dirt = CLEAN) -> Path:
    write_rebates(world, dirt, tmp_path / "inbox")
    return tmp_path / "inbox"


def x12_claim(tmp_path: Path) -> Path:
    """A claim in X12, of those dropped."""
    found = (path for path in write_rebates(WORLD, CLEAN, tmp_path) if path.match("claims_*.edi"))
    return next(path for path in found if path.read_bytes().startswith(b"ISA"))


def edifact_claim(tmp_path: Path) -> bytes:
    """A claim in EDIFACT, of those dropped."""
    found = [
        path.read_bytes() for path in write_rebates(WORLD, CLEAN, tmp_path) if path.match("claims_*.edi")
    ]
    return next(content for content in found if content.startswith(b"UNA"))


def pull(landing: Landing, inbox: Path | str, **options: Any) -> list[PullResult]:
    return pull_feeds(SOURCE, str(inbox), landing, **options)


def test_same_world_same_bytes(tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in write_rebates(WORLD, CLEAN, tmp_path / "a")}
    second = {path.name: path.read_bytes() for path in write_rebates(WORLD, CLEAN, tmp_path / "b")}
    assert first == second
    assert {name.rpartition(".")[2] for name in first} == {"csv", "xlsx", "edi"}


def test_every_claim_and_answer_lands_with_its_money(
    tmp_path: Path, landing: Landing, landed: Callable[[str], list[dict[str, Any]]]
) -> None:
    results = pull(landing, drop(tmp_path))
    assert [item.error for item in results if item.error] == []
    assert sum(item.quarantined for item in results) == 0
    expected = claims(WORLD, CLEAN)
    assert {(row["claim_number"], row["claim_line"]): row["claimed_amount"] for row in landed("claims")} == {
        (line.claim_number, str(line.line_number)): line.claimed_amount for line in expected
    }
    assert {
        (row["claim_number"], row["claim_line"]): row["settled_amount"] for row in landed("settlements")
    } == {
        (line.claim_number, str(line.line_number)): line.settled_amount
        for line in expected
        if line.settled_on is not None
    }
    assert {
        (row["agreement_code"], row["tier_from_amount"], row["rate"]) for row in landed("agreements")
    } == {(item.code, *tier) for item in agreements(WORLD, CLEAN) for tier in item.tiers}
    assert {row["order_number"] for row in landed("claims")} == {
        known_number(line.order) for line in expected
    }
    assert {row["form"] for row in landed("documents")} == {"csv", "xlsx", "x12", "edifact"}


def test_files_that_landed_are_not_landed_again(tmp_path: Path, landing: Landing) -> None:
    inbox = drop(tmp_path)
    assert pull(landing, inbox)
    assert pull(landing, inbox) == []
    again = pull(landing, inbox, again=True)
    assert sum(item.changed for item in again) == 0


def test_time_brings_new_claims_and_answers(
    tmp_path: Path, landing: Landing, landed: Callable[[str], list[dict[str, Any]]]
) -> None:
    pull(landing, drop(tmp_path))
    before = len(landed("claims"))
    later = advance(WORLD, 40, timedelta(days=30))
    results = pull(landing, drop(tmp_path, later))
    assert [item.error for item in results if item.error] == []
    assert len(landed("claims")) > before


def test_damaged_files_wait_in_quarantine_whole_with_the_reason(tmp_path: Path, landing: Landing) -> None:
    inbox = tmp_path / "inbox"
    whole = x12_claim(inbox).read_bytes()
    for path in inbox.iterdir():
        path.unlink()
    (inbox / "a_cut.edi").write_bytes(whole[: len(whole) // 2])
    (inbox / "b_counted.edi").write_bytes(whole.replace(b"~\nGE*1*", b"~\nGE*2*"))
    (inbox / "c_hash.edi").write_bytes(whole.replace(b"~\nCTT*1*", b"~\nCTT*1*9"))
    (inbox / "claims_d.csv").write_text("Claim No.,Line\nRC-1,1\n")
    (inbox / "claims_e.xlsx").write_bytes(b"PK\x03\x04 not a workbook")
    results = pull(landing, inbox)
    assert [(item.pulled, item.landed, item.quarantined) for item in results] == [(5, 0, 5)]
    said = [row.error for row in list_rows(landing)]
    for reason in (
        "a_cut.edi: file: interchange", "is cut off", "GE counts 2 transaction sets, but 1 came", "CTT sums 9",
        "no column for", "claims_e.xlsx: file: not readable",
    ):  # fmt: skip
        assert any(reason in line for line in said), (reason, said)


def test_a_broken_line_costs_itself_alone(
    tmp_path: Path, landing: Landing, landed: Callable[[str], list[dict[str, Any]]]
) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    header = "Claim No.,Line,Agreement,Dealer Code,Order No.,Item Code,Qty,Net Amount,Claimed,Currency,Claim Date\n"
    (inbox / "claims_x.csv").write_text(
        header
        + 'RC-1,1,A,DLR-0001,DL2609-0001,X,12,"1,200.00","60.00",EUR,05/10/2026\n'
        + "RC-1,2,A,DLR-0001,DL2609-0001,X,a dozen,100.00,5.00,EUR,05/10/2026\n"
        + "RC-1,3,A,DLR-0001,DL2609-0001,X,1,100.00,5.00,XXZ,31/02/2026\n"
    )
    (result,) = pull(landing, inbox)
    assert (result.landed, result.quarantined) == (2, 2)
    (claim,) = landed("claims")
    assert (claim["base_amount"], claim["claimed_amount"]) == (Decimal(1200), Decimal(60))
    assert claim["claimed_on"].isoformat() == "2026-10-05"


def test_a_file_of_another_name_is_said_and_the_others_go_on(tmp_path: Path, landing: Landing) -> None:
    inbox = drop(tmp_path)
    (inbox / "holiday.jpg").write_bytes(b"\xff\xd8")
    results = pull(landing, inbox)
    assert ["holiday.jpg" in str(item.error) for item in results if item.error] == [True]
    assert sum(item.landed for item in results) > 0


def test_an_inbox_may_be_any_folder_that_fsspec_opens(tmp_path: Path, landing: Landing) -> None:
    inbox = drop(tmp_path)
    store = fsspec.filesystem("memory")
    for path in inbox.iterdir():
        store.pipe_file(f"/rebates-{tmp_path.name}/{path.name}", path.read_bytes())
    results = pull(landing, f"memory://rebates-{tmp_path.name}")
    assert sum(item.landed for item in results) > 0
    assert pull(landing, tmp_path / "nowhere") == []
    (fault,) = pull(landing, "nosuchscheme://bucket/rebates")
    assert "cannot be listed" in str(fault.error)


def test_a_document_sent_again_replaces_itself(
    tmp_path: Path, landing: Landing, landed: Callable[[str], list[dict[str, Any]]]
) -> None:
    inbox = tmp_path / "inbox"
    good = x12_claim(inbox).read_bytes()
    for path in inbox.iterdir():
        path.unlink()
    (inbox / "1.edi").write_bytes(good)
    (inbox / "2.edi").write_bytes(good.replace(b"*ZZ*LUNABEAUTY ", b"*ZZ*LUNABEAUTE "))
    results = pull(landing, inbox)
    assert [item.error for item in results] == [None, None]
    first, second = landed("documents")
    assert first["document_id"] == second["document_id"]
    assert (first["file_name"], second["file_name"]) == ("1.edi", "2.edi")


def test_an_empty_file_is_said_and_read_again_once_it_is_whole(tmp_path: Path, landing: Landing) -> None:
    inbox = drop(tmp_path)
    (inbox / "claims_late.csv").touch()
    results = pull(landing, inbox)
    assert ["claims_late.csv is empty" in str(item.error) for item in results if item.error] == [True]
    (inbox / "claims_late.csv").write_text("Claim No.,Line\n")
    assert [item.quarantined for item in pull(landing, inbox)] == [1]


def test_a_set_that_is_not_read_is_named(tmp_path: Path) -> None:
    path = x12_claim(tmp_path)
    with pytest.raises(ValueError, match="is a 850; 844, 845 and 849 are read"):
        read_interchange("x.edi", path.read_bytes().replace(b"ST*844*", b"ST*850*"))


def test_a_set_that_cancels_another_is_not_read_as_a_claim(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="has the purpose '01'; originals, replacements and duplicates are read"
    ):
        read_interchange("x.edi", x12_claim(tmp_path).read_bytes().replace(b"BAA*00*", b"BAA*01*"))


def test_a_message_that_does_not_add_up_costs_itself_alone(
    tmp_path: Path, landing: Landing, landed: Callable[[str], list[dict[str, Any]]]
) -> None:
    whole = edifact_claim(tmp_path / "written").decode("latin-1")
    head, _, rest = whole.partition("UNH+1+")
    message, _, tail = rest.partition("UNZ+1+")
    message = f"UNH+1+{message}"

    def numbered(number: int, **changes: str) -> str:
        text = message.replace("UNH+1+", f"UNH+{number}+").replace("+1'\r\n", f"+{number}'\r\n")
        for old, new in changes.items():
            assert f"{old}+" in text
            text = re.sub(rf"{old}\+[^']*'", f"{old}+{new}'", text, count=1)
        return text

    spoilt = [
        numbered(2, UNT="99+2"),
        numbered(3, CNT="1:999999"),
        numbered(4, QTY="47:1.5"),
        numbered(5, BGM="380+X+9"),
        numbered(7, BGM="84+X+1"),
    ]
    other = message.replace("UNH+1+INVOIC", "UNH+6+ORDERS").replace("+1'\r\n", "+6'\r\n")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "all.edi").write_bytes(
        "".join([head, message, *spoilt, other, f"UNZ+7+{tail}"]).encode("latin-1")
    )
    (result,) = pull(landing, tmp_path / "inbox")
    assert (result.quarantined, result.error) == (6, None)
    assert result.pulled == result.landed + 6
    assert {row["document_id"].rpartition("/")[2] for row in landed("documents")} == {"1"}
    said = [row.error for row in list_rows(landing)]
    for line, reason in zip(
        said,
        (
            "all.edi: message 2: interchange", "the total of CNT 1 says 999999", "'1.5' is no number with the decimal mark ,",
            "BGM names the document 380",
            "BGM has the message function '1'", "it is ORDERS; INVOIC and REMADV are read",
        ),
        strict=True,
    ):  # fmt: skip
        assert reason in line
    assert "UNT counts 99, but" in said[0] and "ask the sender to send it again" in said[0]


def test_spoilt_copies_cost_no_claim(
    tmp_path: Path, landing: Landing, landed: Callable[[str], list[dict[str, Any]]]
) -> None:
    dirty = Dirt(7, "dealer_rebates", "heavy")
    results = pull(landing, drop(tmp_path, dirt=dirty))
    assert sum(item.quarantined for item in results) > 0
    assert len({(row["claim_number"], row["claim_line"]) for row in landed("claims")}) == len(
        claims(WORLD, dirty)
    )
    truths = {truth.record_id for truth in rebate_truths(WORLD, dirty)}
    assert {
        f"dealer_rebates:claims:{row['claim_number']}/{row['order_number']}" for row in landed("claims")
    } == truths
