"""Let timeouts happen: an event of the state's own, at the instant at which the time was up, folded like any other."""

from __future__ import annotations

from sqlalchemy import Connection

from oms_core.audit import log
from oms_core.flows import versions
from oms_core.flows.book import find, refold
from oms_core.flows.fold import Event


def sweep(connection: Connection, *, by: str, limit: int = 500) -> list[str]:
    """Let the timeouts happen whose time is up.

    Args:
        connection: a writing transaction.
        limit: orders at most; those that another sweep works on are left to it.

    Returns:
        The orders; fewer than `limit` means there are no more for now.
    """
    due = find(
        connection,
        None,
        "merged_into IS NULL AND due_at <= clock_timestamp() ORDER BY due_at, order_id LIMIT "
        f"{int(limit)} FOR UPDATE SKIP LOCKED",
    )
    known = versions.of(connection, (item.flow for item in due))
    events = {}
    for item in due:
        flow = known[item.flow][item.version]
        timeout = flow.leaves[item.state].timeout
        assert timeout is not None
        assert item.due_at is not None
        event_id = f"timeout:{item.state}:{item.due_at.isoformat()}"
        events[item.order_id] = Event(
            event_id, timeout.event, item.due_at, "orderhub", due_from=item.state, reason="time was up"
        )
    if due:
        swept = log.Happening("flow.swept", by, "flow/timeouts", {"orders": len(due)})
        refold(connection, due, by=by, reason="timeout", told=events, happenings=[swept])
    return [item.order_id for item in due]
