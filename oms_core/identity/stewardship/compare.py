"""Two partitions of the same records compared: which ids move, merge, split, appear, disappear, and what hangs on it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oms_core.identity.stewardship.worth import Worth

_MOST_EXAMPLES = 20


@dataclass(frozen=True)
class Comparison:
    """What changes between two states of identity.

    Attributes:
        records: records known on both sides.
        moved: record -> (id before, id after), where they differ.
        merged: id that is no more -> ids its records are under now.
        split: id that goes on -> other ids some of its records are under now.
        born: ids that only the second state has.
        retired: ids that only the first state has.
        added, removed: records that only one side has.
        worth: what hangs on the records that move.
    """

    records: int
    moved: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    merged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    split: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    born: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    added: int = 0
    removed: int = 0
    worth: Worth = field(default_factory=Worth)

    @property
    def is_same(self) -> bool:
        """Whether nothing changes."""
        return not (self.moved or self.added or self.removed)

    def as_json(self) -> dict[str, Any]:
        """Counts, what hangs on the change, and up to 20 examples of each kind; plain JSON values."""
        return {
            "records": self.records,
            "records_moved": len(self.moved),
            "ids_merged": len(self.merged),
            "ids_split": len(self.split),
            "ids_born": len(self.born),
            "ids_retired": len(self.retired),
            "records_added": self.added,
            "records_removed": self.removed,
            "touched": self.worth.as_json(),
            "examples": {
                "moved": [
                    {"record_id": record, "from": before, "to": after}
                    for record, (before, after) in sorted(self.moved.items())[:_MOST_EXAMPLES]
                ],
                "merged": [
                    {"golden_id": golden_id, "into": list(others)}
                    for golden_id, others in sorted(self.merged.items())[:_MOST_EXAMPLES]
                ],
                "split": [
                    {"golden_id": golden_id, "off": list(others)}
                    for golden_id, others in sorted(self.split.items())[:_MOST_EXAMPLES]
                ],
            },
        }


def compare(
    before: Mapping[str, str], after: Mapping[str, str], worth: Mapping[str, Worth] | None = None
) -> Comparison:
    """Compare two states of identity.

    Args:
        before, after: record id -> golden id.
        worth: record id -> what hangs on it; see `worth.worth_by_record`.

    Returns:
        What changes, and what hangs on the records that move.
    """
    both = before.keys() & after.keys()
    moved = {
        record: (before[record], after[record]) for record in sorted(both) if before[record] != after[record]
    }
    old_ids, new_ids = set(before.values()), set(after.values())
    heirs: dict[str, Counter[str]] = defaultdict(Counter)
    for record in both:
        heirs[before[record]][after[record]] += 1
    merged: dict[str, tuple[str, ...]] = {}
    split: dict[str, tuple[str, ...]] = {}
    for golden_id, shares in heirs.items():
        others = tuple(sorted(shares.keys() - {golden_id}, key=lambda item: (-shares[item], item)))
        if not others:
            continue
        if golden_id in new_ids:
            split[golden_id] = others
        else:
            merged[golden_id] = others
    hangs = sum((worth[record] for record in moved if record in worth), Worth()) if worth else Worth()
    return Comparison(
        len(both),
        moved,
        dict(sorted(merged.items())),
        dict(sorted(split.items())),
        tuple(sorted(new_ids - old_ids)),
        tuple(sorted(old_ids - new_ids)),
        len(after.keys() - before.keys()),
        len(before.keys() - after.keys()),
        hangs,
    )
