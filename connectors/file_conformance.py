"""Checks every source that reads files must pass against an inbox that misbehaves: the file feed's table of troubles.

    class TestDealerRebates(FileConformance):
        source = SOURCE

A test module supplies a fixture `inbox` that yields an `Inbox`. What one pull is put through is what can befall files and
the way to them; the proof is the one of `connectors.conformance`: once it is over, what landed is the truth, no record twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import duckdb
import pytest

from connectors.conformance import landed_files, law_holds, no_errors
from connectors.declare import Source
from connectors.extract import PullResult
from connectors.files import pull_feeds, pull_files
from connectors.landing import Landing

Truth = dict[
    str, Counter[tuple[str, ...]]
]  # stream -> what its newest rows say, each as often as it stands there


@dataclass(frozen=True)
class Inbox:
    """A folder that files arrive in, and the desk to spoil it.

    Attributes:
        folder: where it is.
        fill: puts every file there as it should be, and takes away what is none of them.
        misbehave: spoils one file, or the way to one, until the next `fill`.
        happened: trouble -> how often it spoilt anything.
        advance: lets time pass, so that there are more files.
    """

    folder: Path
    fill: Callable[[], None]
    misbehave: Callable[[str], None]
    happened: Callable[[str], int]
    advance: Callable[[], None]


@dataclass(frozen=True)
class FileTrouble:
    """One row of the table.

    Attributes:
        name: as `Inbox.misbehave` knows it.
        during: what the pull does meanwhile. "passes": it succeeds, with the truth. "goes on": it may say what is wrong with
            a file, by the file's name; the others land. "drifts": it reports the fields that are new.
        is_late: it befalls an inbox whose files have landed.
        after: what is done once it is over.
    """

    name: str
    during: Literal["passes", "goes on", "drifts"]
    is_late: bool = False
    after: Literal["pull", "full"] = "pull"


FILE_TROUBLES = (
    FileTrouble("half_file", "goes on"),
    FileTrouble("half_read", "goes on"),
    FileTrouble("changing_file", "goes on"),
    FileTrouble("duplicated_file", "passes"),
    FileTrouble("duplicated_rows", "goes on"),
    FileTrouble("renamed_file", "passes", is_late=True),
    FileTrouble("renamed_meanwhile", "goes on"),
    FileTrouble("hang", "goes on"),
    FileTrouble("reset", "goes on"),
    FileTrouble("forbidden", "goes on"),
    FileTrouble("clock_ahead", "passes"),
    FileTrouble("clock_behind", "passes"),
    FileTrouble("html", "goes on"),
    FileTrouble("drift", "drifts", after="full"),
)


class FileConformance:
    """Inherit, and set `source`.

    Attributes:
        source: the declaration.
        spared: trouble -> why it cannot come about at this source; a test fails where it does.
    """

    source: ClassVar[Source]
    spared: ClassVar[Mapping[str, str]] = {}

    @pytest.mark.parametrize("trouble", FILE_TROUBLES, ids=lambda trouble: trouble.name)
    def test_after_trouble_landed_equals_the_truth(
        self, trouble: FileTrouble, inbox: Inbox, tmp_path: Path
    ) -> None:
        with closing(Landing(tmp_path / "landing")) as landing:
            inbox.fill()
            if trouble.is_late or trouble.during == "drifts":
                no_errors(self._pull(inbox, landing))
            names = [path.name for path in inbox.folder.iterdir()]
            inbox.misbehave(trouble.name)
            results = self._pull(inbox, landing, again=trouble.after == "full")
            happened = inbox.happened(trouble.name) > 0
            assert happened != (trouble.name in self.spared), (
                f"{trouble.name}: say why in `spared`, or do not"
            )
            assert law_holds(landing)
            if trouble.during == "goes on":
                for item in results:
                    assert item.error is None or any(name in item.error for name in names), item
            else:
                no_errors(results)
            if trouble.during == "passes":
                assert _newest(landing, self.source) == self._truth(inbox, tmp_path)
            if trouble.during == "drifts" and happened:
                assert any(item.drift for item in results), "no field is reported as new"
            inbox.fill()
            no_errors(self._pull(inbox, landing, again=trouble.after == "full"))
            assert _newest(landing, self.source) == self._truth(inbox, tmp_path)
            assert self._pull(inbox, landing) == [], "what landed lands again"

    def test_an_increment_ends_where_a_full_pull_ends(self, inbox: Inbox, tmp_path: Path) -> None:
        with closing(Landing(tmp_path / "landing")) as landing:
            inbox.fill()
            for _ in range(3):
                no_errors(self._pull(inbox, landing))
                inbox.advance()
            no_errors(self._pull(inbox, landing))
            assert _newest(landing, self.source) == self._truth(inbox, tmp_path)

    def _pull(self, inbox: Inbox, landing: Landing, again: bool = False) -> list[PullResult]:
        if self.source.feeds:
            return pull_feeds(self.source, str(inbox.folder), landing, again=again)
        return pull_files(self.source, inbox.folder, landing, again=again)

    def _truth(self, inbox: Inbox, tmp_path: Path) -> Truth:
        """What a pull of everything into an empty landing brings."""
        inbox.fill()
        with closing(Landing(tmp_path / "truth")) as whole:
            no_errors(self._pull(inbox, whole, again=True))
            return _newest(whole, self.source)


def _newest(landing: Landing, source: Source) -> Truth:
    """What the newest version of every document says, by the bytes it stands in and its place there: not by the file's name."""
    declared = source.streams[0]
    files = landed_files(landing, source)
    found: Truth = {name: Counter() for name in declared.tables}
    if declared.name not in files:
        return found
    document = ", ".join(f'"{key}"' for key in declared.document or declared.key)
    newest = (
        f"select *, rank() over (partition by {document} order by _extracted_at desc, _batch_id desc) as place "
        "from read_parquet(?, union_by_name = true)"
    )
    with duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")

        def read(query: str, *paths: Any) -> Counter[tuple[str, ...]]:
            return Counter(connection.execute(query, list(paths)).fetchall())

        found[declared.name] = read(
            f"select _page_sha256, _row_index from ({newest}) where place = 1", files[declared.name]
        )
        for child in declared.children:
            if child.name in files:
                found[child.name] = read(
                    "select child._page_sha256, child._child_index, child._record_hash from read_parquet(?, union_by_name = true) "
                    f"as child join ({newest}) as parent on parent.place = 1 and child._parent_hash = parent._record_hash "
                    "and child._batch_id = parent._batch_id",
                    files[child.name],
                    files[declared.name],
                )
    return found
