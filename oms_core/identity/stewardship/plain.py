"""Identity's views as plain JSON values: what the command line prints with --json and the API answers. Times are UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from oms_core.identity.stewardship.evidence import Record, Standing
from oms_core.identity.stewardship.queue import Link
from oms_core.identity.stewardship.show import GoldenView, PairView
from oms_core.identity.stewardship.steward import Happening, Judged, Named
from oms_core.identity.stewardship.waterfall import Step, probability, total


def decision(item: Judged) -> dict[str, Any]:
    """One decision, with its withdrawal if there was one."""
    return asdict(item)


def task(item: Standing) -> dict[str, Any]:
    """One task of the queue, with what hangs on it."""
    return {
        "id": item.id,
        "entity": item.task.entity,
        "kind": item.task.kind,
        "left": item.task.left,
        "right": item.task.right,
        "golden_id": item.task.golden_id,
        "attribute": item.task.attribute,
        "probability": item.task.probability,
        "evidence": dict(item.task.evidence),
        "worth": item.worth.as_json(),
        "opened_at": item.opened_at,
        "closed_at": item.closed_at,
        "outcome": item.outcome,
        "decision_id": item.decision_id,
    }


def record(item: Record) -> dict[str, Any]:
    """One record: where it is and by which rule, its values, what hangs on it."""
    return {
        "record_id": item.record_id,
        "golden_id": item.golden_id,
        "match_rule": item.rule,
        "first_seen_at": item.first_seen_at,
        "fields": dict(item.fields),
        "worth": item.worth.as_json(),
    }


def link(item: Link) -> dict[str, Any]:
    """One piece of evidence."""
    return asdict(item)


def named(item: Named) -> dict[str, Any]:
    """What a name led to."""
    return asdict(item)


def happening(item: Happening) -> dict[str, Any]:
    """One entry of a history."""
    return asdict(item)


def score(steps: Sequence[Step]) -> dict[str, Any] | None:
    """The waterfall of a score; None where nothing scores the entity."""
    if not steps:
        return None
    bits = total(steps)
    return {
        "steps": [{"field": step.label, "weight_bits": step.weight, "found": step.note} for step in steps],
        "match_weight_bits": bits,
        "probability": probability(bits),
    }


def pair(view: PairView) -> dict[str, Any]:
    """Two records side by side, and all that is known of the two."""
    return {
        "entity": view.entity,
        "is_one": view.is_one,
        "version": view.version,
        "asked": [named(item) for item in view.named],
        "left": record(view.left),
        "right": record(view.right),
        "fields": [asdict(item) for item in view.fields],
        "links": [link(item) for item in view.links],
        "path": [link(item) for item in view.path],
        "contradictions": list(view.contradictions),
        "score": score(view.steps),
        "decisions": [decision(item) for item in view.decisions],
        "tasks": [task(item) for item in view.tasks],
        "history": [happening(item) for item in view.events],
        "blast": [item.as_json() for item in view.blasts],
    }


def golden(view: GoldenView) -> dict[str, Any]:
    """A golden id with its records, and why each is there."""
    return {
        "entity": view.entity,
        "asked": view.asked,
        "golden_id": view.golden_id,
        "born_at": view.born_at,
        "born_from": view.born_from,
        "worth": view.worth.as_json(),
        "records": [
            {
                **record(item.record),
                "since": item.since,
                "links": [link(one) for one in item.links],
            }
            for item in view.members
        ],
        "decisions": [decision(item) for item in view.decisions],
        "tasks": [task(item) for item in view.tasks],
        "history": [happening(item) for item in view.history],
    }
