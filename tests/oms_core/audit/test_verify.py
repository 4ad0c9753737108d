"""What `audit verify` catches. Every attack is made with full rights on the database, triggers switched off."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from sqlalchemy import text, update

from connectors import registry
from connectors.files import pull_files
from connectors.integrity import batch_digests, faulty_pages
from connectors.landing import BATCHES, Landing
from connectors.retention import Rule, retain
from oms_core.audit import checkpoint, log, merkle
from oms_core.audit.checkpoint import Checkpoint, Signer, Verifier
from oms_core.audit.erasure import erase_superseded
from oms_core.audit.log import AuditError, Happening
from oms_core.audit.row_proof import prove_row
from oms_core.audit.verify import LandingCheck, Verdict, take_checkpoint, verify
from oms_core.release.publish import Batch, Publication
from oms_core.store.errors import NotReleasedError
from oms_core.store.postgres import Database

MAPPING = """
name = "till"
files = "till_*.csv"
timezone = "Europe/London"
[columns]
order_number = "no"
ordered_at = "at"
sku_code = "sku"
qty = "qty"
unit_price_amount = "price"
[constants]
currency = "GBP"
"""


@dataclass
class Company:
    """One installation with two releases, a landed file, fifty entries and three checkpoints."""

    database: Database
    landing: Landing
    signer: Signer
    folder: Path

    def verify(self, verifier: Verifier | None = None) -> Verdict:
        check = LandingCheck(
            lambda ids: batch_digests(self.landing, ids), lambda erased: faulty_pages(self.landing, erased)
        )
        notes = checkpoint.stored(self.folder)
        return verify(self.database, notes, verifier or self.signer.verifier, check)

    def sign(self) -> Path:
        with self.database.begin() as connection:
            path = take_checkpoint(connection, self.signer, self.folder)
        assert path is not None
        return path

    def attack(self, *statements: str) -> None:
        """As superuser, with triggers off."""
        with self.database.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in statements:
                connection.execute(text(statement.replace(":", "\\:")))

    def rewrite(self, size: int | None = None) -> None:
        """Recompute the whole log from its texts, as somebody would who knows how it is made."""
        with self.database.begin() as connection:
            texts = list(
                connection.execute(text("SELECT entry FROM orderhub.audit_entries ORDER BY seq")).scalars()
            )
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(text("DELETE FROM orderhub.audit_entries"))
            connection.execute(text("DELETE FROM orderhub.audit_nodes"))
            for said in map(json.loads, texts[:size]):
                happening = Happening(said["kind"], said["actor"], said["subject"], said["data"])
                log.append(connection, [happening])


@pytest.fixture
def company(
    database: Database, tmp_path: Path, publish_small: Callable[..., Publication]
) -> Iterator[Company]:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "till.mapping.toml").write_text(MAPPING)
    (inbox / "till_1.csv").write_text("no,at,sku,qty,price\n1,2026-03-01T10:00:00,A,2,9.95\n")
    with closing(Landing(tmp_path / "landing")) as landing, database.begin() as connection:
        (pulled,) = pull_files(registry.source("file_drop"), inbox, landing)
        assert pulled.error is None
        signer = Signer.open(tmp_path / "key.pem", log.origin(connection))
        made = Company(database, landing, signer, tmp_path / "checkpoints")
        digests = batch_digests(landing, [batch.batch_id for batch in landing.batches()])
        connection.commit()
        publish_small(
            database,
            batches=[
                Batch(item.source, item.stream, item.batch_id, digests[item.batch_id])
                for item in landing.batches()
            ],
        )
        made.sign()
        with database.begin() as writing:
            log.append(
                writing,
                [Happening("thing.changed", "anna", f"thing/{n}", {"amount": "1.10"}) for n in range(48)],
            )
        made.sign()
        publish_small(database, fct_payments=[], dim_skus=[{"sku_id": "s", "sku_code": 'tab\t\\"\n\r\\N'}])
        made.sign()
        yield made


def test_an_honest_company_holds(company: Company) -> None:
    verdict = company.verify()
    assert verdict.faults == [] and verdict.remarks == []
    assert (verdict.entries, verdict.checkpoints, verdict.releases) == (50, 3, 2)
    assert verdict.rows > 20 and verdict.batches == 1 and verdict.pages == 1


def climbed(leaf: bytes, step: dict[str, Any]) -> str:
    """An independent reading of RFC 9162, 2.1.3.2: the root that a leaf's path leads to."""
    found, index, last = hashlib.sha256(b"\0" + leaf).digest(), step["leaf_index"], step["tree_size"] - 1
    for each in map(bytes.fromhex, step["path"]):
        if index % 2 or index == last:
            found = hashlib.sha256(b"\1" + each + found).digest()
            while index % 2 == 0 and index:
                index, last = index // 2, last // 2
        else:
            found = hashlib.sha256(b"\1" + found + each).digest()
        index, last = index // 2, last // 2
    return found.hex()


@pytest.mark.parametrize(
    ("table", "key", "release_id"),
    [
        ("fct_orders", {"order_id": "order_a"}, 2),
        ("fct_orders", {"order_id": "order_b"}, 1),
        ("dim_customers", {"customer_id": "customer_w"}, 2),
        ("dim_skus", {"sku_id": "s"}, 2),
    ],
)
def test_a_row_is_proven_to_stand_in_a_sealed_release(
    company: Company, table: str, key: dict[str, str], release_id: int
) -> None:
    with company.database.begin() as connection:
        proof = prove_row(connection, table, key, release_id)
    told = proof.told()
    assert told["holds"]
    entry = json.loads(told["table_entry"])
    assert climbed(told["line"].encode(), told["in_table"]) == entry["merkle_root"]
    assert climbed(told["table_entry"].encode(), told["in_release"]) == told["release_root"]
    assert json.loads(told["log_entry"])["data"]["merkle_root"] == told["release_root"]
    assert "王小明" not in told["line"]
    assert not replace(proof, line=proof.line.replace("o", "0", 1) + "x").holds()


def test_what_a_release_does_not_show_is_not_proven(company: Company) -> None:
    with (
        company.database.begin() as connection,
        pytest.raises(NotReleasedError, match="shows no row of dim_skus"),
    ):
        prove_row(connection, "dim_skus", {"sku_id": "s"}, 1)


def test_an_erased_value_leaves_its_commitment_and_the_seal_holds(company: Company) -> None:
    with company.database.begin() as connection:
        key = bytes(
            connection.execute(
                text("SELECT key FROM orderhub.person_keys WHERE person_id = 'customer_w'")
            ).scalar_one()
        )
    kept = hashlib.sha256(key + "full_name:王小明".encode()).hexdigest()
    company.attack(
        f"UPDATE release_history.dim_customers SET full_name = 'erased:{kept}' WHERE customer_id = 'customer_w'",
        "DELETE FROM orderhub.person_keys WHERE person_id = 'customer_w'",
    )
    assert company.verify().faults == []
    company.attack("UPDATE release_history.dim_customers SET full_name = 'somebody else'")
    assert any("dim_customers: the row customer_id customer_w" in fault for fault in company.verify().faults)


ENTRIES = "orderhub.audit_entries"
SWAP = f"UPDATE {ENTRIES} AS a SET entry = b.entry, leaf_hash = b.leaf_hash FROM {ENTRIES} AS b WHERE a.seq + b.seq = 41 AND a.seq IN (20, 21)"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (f"UPDATE {ENTRIES} SET entry = replace(entry, '1.10', '9.99') WHERE seq = 7", "entry 7 was edited"),
        (
            f"UPDATE {ENTRIES} SET entry = replace(entry, '1.10', '9.99'), leaf_hash = "
            "sha256('\\x00'::bytea || convert_to(replace(entry, '1.10', '9.99'), 'UTF8')) WHERE seq = 7",
            "the log was rewritten",
        ),
        (f"DELETE FROM {ENTRIES} WHERE seq = 7", "entry 7 is missing from the log"),
        (f"DELETE FROM {ENTRIES} WHERE seq IN (7, 8, 9)", "entries 7 to 9 are missing from the log"),
        (SWAP, "entries were reordered"),
        (f"DELETE FROM {ENTRIES} WHERE seq = 49", "its end was cut off"),
        (f"UPDATE {ENTRIES} SET entry = 'gone' WHERE seq = 7", "entry 7 is not an entry"),
        (
            f"UPDATE {ENTRIES} SET entry = replace(entry, 'release/2', 'release/x')",
            "entry 49 is of no release",
        ),
        (
            f"UPDATE {ENTRIES} SET entry = regexp_replace(entry, '\"batches\":\\[.*?\\]', '\"batches\":7') WHERE seq = 49",
            "entry 49 is of no release",
        ),
        (f"UPDATE {ENTRIES} SET entry = replace(entry, '\"1.10\"', '1e999') WHERE seq = 7", "not canonical JSON"),
        ("UPDATE orderhub.audit_nodes SET hash = '\\x00' WHERE level = 4 AND position = 0", "node 0 of level 4"),
        ("DELETE FROM orderhub.audit_nodes WHERE level = 5", "node 0 of level 5"),
        ("UPDATE release_history.fct_orders SET net_amount = 50.9 WHERE order_id = 'order_a'", "was edited since"),
        ("UPDATE release_history.fct_orders SET release_to = 2 WHERE order_id = 'order_a'", "sealed with 2"),
        ("DELETE FROM release_history.dim_customers", "shows 0 rows in release 1, which was sealed with 1"),
        ("UPDATE orderhub.releases SET merkle_root = '\\x00' WHERE id = 2", "release 2: its tables do not have the root"),
        ("DELETE FROM orderhub.releases WHERE id = 2", "release 2 was logged and is gone"),
        ("UPDATE orderhub.release_tables SET row_count = 3 WHERE table_name = 'fct_orders'", "do not have the root"),
        (
            "INSERT INTO orderhub.releases SELECT 3, now(), '', sha256('') ",
            "release 3 was never logged",
        ),
    ],
)  # fmt: skip
def test_an_attack_on_the_database_shows(company: Company, statement: str, said: str) -> None:
    company.attack(statement)
    assert said in "\n".join(company.verify().faults)


def test_a_fact_row_edited_together_with_its_hash_and_seal_does_not_fit_the_log(company: Company) -> None:
    row = "release_history.dim_customers"
    company.attack(f"UPDATE {row} SET full_name = 'x'")
    (fault,) = company.verify().faults
    assert "dim_customers: the row customer_id customer_w" in fault
    columns = "coalesce(customer_id,'') || E'\\t' || full_name || E'\\t' || coalesce(preference_tags,'')"
    company.attack(f"UPDATE {row} SET row_hash = sha256('\\x00'::bytea || convert_to({columns}, 'UTF8'))")
    with company.database.begin() as connection:
        forged = bytes(connection.execute(text(f"SELECT row_hash FROM {row}")).scalar_one())
    company.attack(
        f"UPDATE orderhub.release_tables SET merkle_root = '\\x{forged.hex()}' WHERE table_name = 'dim_customers'"
    )
    said = "\n".join(company.verify().faults)
    assert "does not have the root it was logged with" in said


def test_a_log_recomputed_as_a_whole_is_not_the_one_that_was_signed(company: Company) -> None:
    company.attack(f"UPDATE {ENTRIES} SET entry = replace(entry, 'anna', 'nobody') WHERE seq = 7")
    company.rewrite()
    faults = company.verify().faults
    assert len(faults) == 3 and all("the log was rewritten" in fault for fault in faults)
    with pytest.raises(AuditError, match="it is not signed again"):
        company.sign()


def test_a_tail_cut_off_with_its_tree_is_noticed(company: Company) -> None:
    company.rewrite(30)
    assert "signed 50: its end was cut off" in "\n".join(company.verify().faults)


def test_an_edited_landing_page_is_noticed(company: Company, tmp_path: Path) -> None:
    (page,) = (tmp_path / "landing" / "pages").glob("*/*.zst")
    page.write_bytes(page.read_bytes()[:-3] + b"xyz")
    (fault,) = company.verify().faults
    assert f"page {page.stem} was changed after it was archived" in fault
    page.unlink()
    (fault,) = company.verify().faults
    assert "is not in the archive" in fault


def test_what_retention_let_go_is_no_forgery_once_the_log_says_so(company: Company) -> None:
    rules = [Rule(source_system="*", stream="*", part="pages", keep_days=30, reason="law")]
    with company.landing.transaction() as connection:
        connection.execute(update(BATCHES).values(gate="passed"))
    done = retain(company.landing, registry.sources(), rules, datetime.now(UTC) + timedelta(days=31))
    assert list(done.pages.values()) == [None]
    assert any("retention let it go" in fault for fault in company.verify().faults)
    pages = sorted([page, now or ""] for page, now in done.pages.items())
    with company.database.begin() as connection:
        log.append(connection, [Happening(log.RETENTION_BEGUN, "ann", "landing", {"batches": []})])
    assert any("begun and not finished" in fault for fault in company.verify().faults)
    with company.database.begin() as connection:
        log.append(
            connection, [Happening(log.RETENTION_APPLIED, "ann", "landing", {"batches": [], "pages": pages})]
        )
    assert company.verify().holds


def test_what_past_releases_said_of_a_person_goes_and_the_seals_hold(
    company: Company, publish_small: Callable[..., Publication]
) -> None:
    renamed = [{"customer_id": "customer_w", "full_name": "李小红", "preference_tags": "[]"}]
    published = publish_small(company.database, dim_customers=renamed)
    with company.database.begin() as connection:
        assert erase_superseded(connection, published.published_at) == {}
        later = published.published_at + timedelta(seconds=1)
        assert erase_superseded(connection, later, dry_run=True) == {"dim_customers": 1}
        assert erase_superseded(connection, later) == {"dim_customers": 1}
        assert erase_superseded(connection, later) == {}
        names = connection.execute(
            text("SELECT full_name FROM release_history.dim_customers ORDER BY release_from")
        ).scalars()
        first, now = names.all()
    assert first.startswith("erased:") and now == "李小红"
    assert company.verify().faults == []


def test_an_edited_or_missing_landed_file_is_noticed(company: Company, tmp_path: Path) -> None:
    (file,) = (tmp_path / "landing").glob("file_drop/*/*.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:-9] + b"x" + content[-8:])
    (fault,) = company.verify().faults
    assert "is not what release 1 was made from" in fault
    file.unlink()
    (fault,) = company.verify().faults
    assert fault.endswith("part of release 1, is gone")


def test_a_swapped_checkpoint_is_noticed(company: Company, tmp_path: Path) -> None:
    first, second, third = sorted(company.folder.iterdir())
    third.write_bytes(first.read_bytes())
    (fault,) = company.verify().faults
    assert "put under another name" in fault
    other = Signer.open(tmp_path / "other.pem", company.signer.verifier.name)
    third.write_bytes(other.sign(Checkpoint(other.verifier.name, 50, b"\0" * 32)))
    (fault,) = company.verify().faults
    assert "is not signed with the key" in fault
    third.write_bytes(company.signer.sign(Checkpoint("orderhub.log/other", 50, b"\0" * 32)))
    (fault,) = company.verify().faults
    assert "a checkpoint of another log" in fault
    third.write_bytes(second.read_bytes()[:40])
    (fault,) = company.verify().faults
    assert "is no signed checkpoint" in fault


def test_checkpoints_taken_elsewhere_tell_a_database_put_back(company: Company, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(company.folder, tmp_path / "elsewhere")
    company.attack(f"UPDATE {ENTRIES} SET entry = replace(entry, 'anna', 'nobody')")
    company.rewrite()
    for path in company.folder.iterdir():
        path.unlink()
    company.sign()
    assert company.verify().holds, "whoever holds database, folder and key can make it look whole"
    company.folder = elsewhere
    assert not company.verify().holds, "but not to whoever kept a checkpoint"


def test_without_checkpoints_the_verdict_says_what_it_cannot_see(company: Company) -> None:
    for path in company.folder.iterdir():
        path.unlink()
    assert any("would not be noticed" in remark for remark in company.verify().remarks)


def test_a_checkpoint_is_a_signed_note(company: Company) -> None:
    """Read by the format alone: C2SP tlog-checkpoint and signed-note."""
    path = sorted(company.folder.iterdir())[-1]
    origin, size, root, empty, signature, end = path.read_text().split("\n")
    with company.database.begin() as connection:
        assert (origin, int(size)) == (log.origin(connection), 50)
        entries = [entry.canonical for entry in log.read(connection, limit=100)]
    assert base64.b64decode(root) == merkle.tree_root(b"".join(map(merkle.leaf_hash, entries)))
    assert (empty, end) == ("", "")
    dash, name, value = signature.split(" ")
    assert (dash, name) == ("—", origin)
    key = company.signer.verifier.key
    mark = hashlib.sha256(name.encode() + b"\n\x01" + key).digest()[:4]
    assert base64.b64decode(value)[:4] == mark
    assert all(rfc8785.dumps(json.loads(entry)) == entry for entry in entries)
    spelled = company.signer.verifier.spelled()
    assert Verifier.read(spelled) == company.signer.verifier
    with pytest.raises(AuditError, match="no verifier key"):
        Verifier.read(spelled[:-6])


def test_a_signing_key_others_may_read_is_not_used(company: Company, tmp_path: Path) -> None:
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(AuditError, match="others may read the signing key"):
        Signer.open(tmp_path / "key.pem", "x")


def test_the_published_verifier_key_example_reads() -> None:
    """The example key of the signed-note document."""
    example = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert Verifier.read(example).spelled() == example


def test_a_log_that_lost_its_name_is_said_so(company: Company) -> None:
    company.attack("DELETE FROM orderhub.audit_log")
    with pytest.raises(AuditError, match="0 names instead of one"):
        company.verify()
