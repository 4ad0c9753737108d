"""The stewards' queue, as plain values: what a task is, and which tasks a run leaves to a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oms_core.identity.cluster import Edge, Refusal

GREY = "grey_zone"
REFUSED = "refused_evidence"
CONTRADICTION = "contradiction"
DOUBT = "decision_in_doubt"
PAIR_KINDS = (REFUSED, GREY, DOUBT)

# Evidence this strong that was not followed asks for a person; weaker evidence loses against a contradiction every day.
_WEAKEST_ASKED = 4


@dataclass(frozen=True)
class Task:
    """A question for a steward: about two records, or about one golden id (and an attribute of it).

    `evidence` says why it is asked. It is also what decides whether a task that was answered "unsure" is asked again, so
    that figures which change with every training of a model have no place in it: they go into `probability`.
    """

    entity: str
    kind: str
    left: str | None = None
    right: str | None = None
    golden_id: str | None = None
    attribute: str | None = None
    probability: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Order the pair; refuse a task that is about neither a pair nor an id, or about both."""
        if (self.left is None) != (self.right is None) or (self.left is None) == (self.golden_id is None):
            raise ValueError(f"a task is about two records or about one golden id, not {self}")
        if self.left is not None and self.right is not None and self.left > self.right:
            left, right = self.right, self.left
            object.__setattr__(self, "left", left)
            object.__setattr__(self, "right", right)


def pair_tasks(
    entity: str,
    members: Mapping[str, str],
    refusals: Iterable[Refusal],
    scored: Iterable[tuple[str, str, float]] = (),
) -> list[Task]:
    """What a run leaves to a person: exact evidence it did not follow, and pairs in the grey zone.

    Args:
        entity: customer, sku, location or order.
        members: record id -> golden id, of this run; pairs that are one anyway are no question.
        refusals: of the run's clustering.
        scored: (left, right, probability) between the review and the merge threshold.

    Returns:
        Tasks in no order; several may be about the same two golden ids.
    """
    tasks: list[Task] = []
    for refusal in refusals:
        edge = refusal.edge
        if not 0 < edge.strength <= _WEAKEST_ASKED or refusal.reason == "a steward judged them different":
            continue
        if _parted(members, edge.left, edge.right):
            evidence = {"rule": edge.rule, "strength": edge.strength, "reason": refusal.reason}
            tasks.append(Task(entity, REFUSED, edge.left, edge.right, evidence=evidence))
    for left, right, probability in scored:
        if _parted(members, left, right):
            tasks.append(Task(entity, GREY, left, right, probability=probability, evidence={"rule": "score"}))
    return tasks


def _parted(members: Mapping[str, str], left: str, right: str) -> bool:
    return left in members and right in members and members[left] != members[right]


@dataclass(frozen=True)
class Link:
    """One piece of a run's evidence: strength 1 is strongest; `refused` says why it was not followed."""

    left: str
    right: str
    rule: str
    strength: int
    probability: float | None = None
    refused: str | None = None


def links(
    evidence: Iterable[Edge],
    refusals: Iterable[Refusal],
    probability: Mapping[tuple[str, str], float] | None = None,
) -> list[Link]:
    """A run's evidence with what became of it; one link per pair and rule, the strongest.

    Args:
        evidence: every edge of the run.
        refusals: those that were not followed.
        probability: (left, right) -> probability, of scored pairs.
    """
    refused = {(item.edge.left, item.edge.right, item.edge.rule): item.reason for item in refusals}
    known = probability or {}
    found: dict[tuple[str, str, str], Link] = {}
    for edge in sorted(set(evidence), reverse=True):
        if edge.strength > 0:
            key = (min(edge.left, edge.right), max(edge.left, edge.right), edge.rule)
            reason = refused.get((edge.left, edge.right, edge.rule))
            found[key] = Link(*key, edge.strength, known.get(key[:2]), reason)
    return list(found.values())
