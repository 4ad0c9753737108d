"""Take orders under way to another version of their flow: said state by state, tried dry, and kept as an event of each order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from oms_core.audit import log
from oms_core.flows import versions
from oms_core.flows.book import clock, find, refold
from oms_core.flows.definition import MIGRATED
from oms_core.flows.errors import ConflictError, UnknownError
from oms_core.flows.fold import Event


@dataclass(frozen=True)
class Migrated:
    """What a migration does: state -> (state in the new version, orders)."""

    flow: str
    from_version: str
    to_version: str
    states: Mapping[str, tuple[str, int]]
    orders: int
    is_done: bool


def migrate(
    connection: Connection,
    flow: str,
    from_version: str,
    to_version: str,
    states: Mapping[str, str],
    *,
    by: str,
    reason: str,
    dry_run: bool,
) -> Migrated:
    """Take orders under way from one version of their flow to another; done ones stay.

    Args:
        connection: a writing transaction.
        states: where an order goes from each state; the same name by default, where the new version has it.
        dry_run: say what would happen, and change nothing.

    Raises:
        UnknownError: no such flow, version or state.
        ConflictError: a state has no mapping.
    """
    known = versions.known(connection, flow)
    for version in (from_version, to_version):
        if version not in known:
            raise UnknownError(
                "unknown-version", f"flow {flow} has no version {version!r}: there are {', '.join(known)}"
            )
    old, new = known[from_version], known[to_version]
    for name, leaves in ((list(states), old.leaves), (list(states.values()), new.leaves)):
        for state in name:
            if state not in leaves:
                which = from_version if leaves is old.leaves else to_version
                raise UnknownError(
                    "unknown-state",
                    f"version {which} of {flow} has no state {state!r}: there are {', '.join(leaves)}",
                )
    # Every state, not only those in use: a late event may still show that an order had been in another one.
    mapping = {leaf: states.get(leaf, leaf) for leaf in old.leaves}
    counts = versions.standing(connection, flow, from_version)
    missing = [leaf for leaf, target in mapping.items() if target not in new.leaves]
    if missing:
        told = ", ".join(f"{leaf} ({counts.get(leaf, 0)} orders)" for leaf in missing)
        raise ConflictError(
            "no-mapping",
            f"version {to_version} of {flow} has no state for {told}: say where orders go from there, "
            f"`--map {missing[0]}=…`",
            {"states": missing},
        )
    moving = find(
        connection,
        None,
        "flow = :flow AND version = :version AND NOT is_done AND merged_into IS NULL ORDER BY order_id FOR UPDATE",
        {"flow": flow, "version": from_version},
    )
    count: dict[str, int] = {}
    for item in moving:
        count[item.state] = count.get(item.state, 0) + 1
    if not dry_run and moving and from_version != to_version:
        at = clock(connection)
        data = {"from_version": from_version, "to_version": to_version, "states": mapping}
        event_id = f"migrated:{from_version}:{to_version}:{at.isoformat()}"
        events = {
            item.order_id: Event(event_id, MIGRATED, at, "orderhub", by, reason, data=data) for item in moving
        }
        said = {"from": from_version, "orders": len(moving), "states": mapping, "reason": reason}
        migrated = log.Happening("flow.migrated", by, f"flow/{flow}/{to_version}", said)
        refold(connection, moving, by=by, reason=reason, told=events, happenings=[migrated])
    return Migrated(
        flow,
        from_version,
        to_version,
        {leaf: (mapping[leaf], count[leaf]) for leaf in sorted(count)},
        len(moving),
        not dry_run,
    )
