"""From pairs to clusters: connected components that never cross what must stay apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

SCORED = 5  # strength of an edge that rests on a score; everything stronger is exact


@dataclass(frozen=True, order=True)
class Edge:
    """Evidence that two records are one. `strength` orders the edges: 0 is strongest."""

    strength: int
    left: str
    right: str
    rule: str


@dataclass(frozen=True)
class Refusal:
    """An edge that was not followed, with the reason."""

    edge: Edge
    reason: str


@dataclass(frozen=True)
class Clustering:
    """Partition of the records, why each record is where it is, and which evidence was refused."""

    clusters: list[frozenset[str]]
    rules: dict[str, str]
    refusals: list[Refusal]


def cluster(
    records: Iterable[str],
    edges: Iterable[Edge],
    apart: Iterable[tuple[str, str]] = (),
    exclusive: Mapping[str, str] | None = None,
    veto: Callable[[str, str], str | None] | None = None,
    agree: Mapping[str, Mapping[str, str]] | None = None,
    parts: Iterable[tuple[str, str]] = (),
    told_apart: Mapping[str, str] | None = None,
) -> Clustering:
    """Follow edges from strongest to weakest; the result does not depend on the order records or edges come in.

    Args:
        records: every record id; those without edges become clusters of one.
        edges: evidence between known records.
        apart: pairs that a steward judged different; no cluster may hold both.
        exclusive: record id -> label; no cluster may hold two records with one label.
        veto: (left, right) -> reason not to follow this one edge, or None.
        agree: name of an identifier -> record id -> its value; no cluster may hold two values of one identifier, not
            even through a record that has none. Evidence between records of one value is not held back.
        parts: pairs of a kit and an article in it; no cluster may hold both, unless a steward says so.
        told_apart: record id -> the register it stands in, where whoever keeps the register tells one from another. A score
            does not join clusters that stand in one register twice; exact evidence does.

    Returns:
        Clusters sorted by their smallest record id.
    """
    ids = sorted(set(records))
    root = {record: record for record in ids}
    members = {record: {record} for record in ids}
    labels = {record: {exclusive[record]} if exclusive and record in exclusive else set() for record in ids}
    values = {
        record: {(name, known[record]) for name, known in (agree or {}).items() if record in known}
        for record in ids
    }
    registers = {
        record: {told_apart[record]} if told_apart and record in told_apart else set() for record in ids
    }
    enemies, kits = _both_ways(apart), _both_ways(parts)
    rules: dict[str, str] = {}
    refusals = []

    def find(record: str) -> str:
        while root[record] != record:
            root[record] = root[root[record]]
            record = root[record]
        return record

    for edge in sorted(set(edges)):
        if edge.left not in root or edge.right not in root:
            continue
        left, right = find(edge.left), find(edge.right)
        if left == right:
            continue
        if len(members[left]) < len(members[right]):
            left, right = right, left
        reason = veto(edge.left, edge.right) if veto is not None and edge.strength > 0 else None
        if reason is None and edge.strength > 0 and labels[left] & labels[right]:
            reason = f"two records of {', '.join(sorted(labels[left] & labels[right]))} would meet"
        if reason is None and edge.strength > 0:
            reason = _disagreement(values[left], values[right])
        if (
            reason is None
            and edge.strength > 0
            and any(kits.get(r, set()) & members[left] for r in members[right])
        ):
            reason = "one is a kit that holds the other"
        if reason is None and edge.strength >= SCORED and registers[left] & registers[right]:
            reason = f"{', '.join(sorted(registers[left] & registers[right]))} tells them apart"
        if reason is None and any(enemies.get(record, set()) & members[left] for record in members[right]):
            reason = "a steward judged them different"
        if reason is not None:
            refusals.append(Refusal(edge, reason))
            continue
        root[right] = left
        members[left] |= members.pop(right)
        labels[left] |= labels.pop(right)
        registers[left] |= registers.pop(right)
        values[left] |= values.pop(right)
        rules.setdefault(edge.left, edge.rule)
        rules.setdefault(edge.right, edge.rule)
    found = sorted((frozenset(group) for group in members.values()), key=min)
    return Clustering(found, rules, refusals)


def _both_ways(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for left, right in pairs:
        found.setdefault(left, set()).add(right)
        found.setdefault(right, set()).add(left)
    return found


def _disagreement(left: set[tuple[str, str]], right: set[tuple[str, str]]) -> str | None:
    """Why two clusters cannot be one: the identifier of which they would hold two values."""
    for name in sorted({name for name, _ in left} & {name for name, _ in right}):
        ours = {value for known, value in left if known == name}
        theirs = {value for known, value in right if known == name}
        # A steward may have put two values together on purpose; either of them then fits.
        if not (ours <= theirs or theirs <= ours):
            return f"their {name}s differ"
    return None
