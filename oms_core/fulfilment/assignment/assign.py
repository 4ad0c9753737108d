"""Source a released order: look, decide, and where it is asked for reserve and allocate, all in one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from oms_core.audit import log
from oms_core.fulfilment import ledger
from oms_core.fulfilment.assignment import record, rules
from oms_core.fulfilment.assignment.company import Company, Wanted, read_company, read_order
from oms_core.fulfilment.assignment.live import Inputs, gather
from oms_core.fulfilment.assignment.record import Stored
from oms_core.fulfilment.desk import repeat
from oms_core.fulfilment.errors import FulfilmentError, RefusedError, RequestError, UnknownError
from oms_core.fulfilment.ledger import Change, Stock
from oms_core.fulfilment.reservation import ALLOCATED, Ask, Line, Reservation
from oms_core.fulfilment.sourcing.decide import Decision, Review, review, source_order
from oms_core.fulfilment.sourcing.facts import Facts
from oms_core.fulfilment.sourcing.policy import Policy
from oms_core.fulfilment.stock import ZERO, PoolKey
from oms_core.store.postgres import Database
from oms_core.store.released import Released

DONE = ("shipped", "delivered", "closed", "returned", "cancelled")
_HOLD = timedelta(minutes=5)  # between reserving and allocating, which are one transaction


@dataclass(frozen=True)
class Request:
    """Who asks for a decision to be carried out.

    Attributes:
        key: the tenant's own name for the request; told again it gives the same decision.
        body_sha256: of what was asked.
    """

    tenant: str
    key: str
    body_sha256: bytes


@dataclass(frozen=True)
class Reviewed:
    """What became of a decision when it was looked at again.

    Attributes:
        keeps: it still stands.
        score: what its plan scores now; None: it can no longer be sent.
        fresh: the decision that takes its place, kept; None: nothing took its place.
        proposed: what would be decided now.
    """

    keeps: bool
    score: float | None
    proposed: Decision
    fresh: Stored | None


class Sourcing:
    """Decides about released orders for one process; what a release says of the nodes is read once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._company: Company | None = None

    def source(
        self,
        number: str,
        *,
        by: str,
        request: Request | None = None,
        policy: Policy | None = None,
        planned: Decision | None = None,
    ) -> Stored:
        """Decide about an order and keep the decision.

        Args:
            number: any id of the order.
            request: carry it out: what the plan takes is reserved and allocated with the decision, all or nothing; None:
                a dry run, which reserves nothing.
            policy: to try in a dry run; None: the one in force.
            planned: what a batch decided about the order; it is carried out while it can be sent.

        Returns:
            The decision; unfilled, and without a reservation, where the order cannot be sent whole.

        Raises:
            NotReleasedError, AmbiguousError: the number leads nowhere, or to several.
            FulfilmentError: the order makes no sense, is sent already ("order-state"), or is being carried out
                ("already-sourced").
        """
        if policy is not None and request is not None:
            raise RequestError(
                "bad-request", "only the policy in force is carried out: activate the other one first"
            )
        with self._database.begin() as connection:
            earlier = _earlier(connection, request)
            known, facts = rules.in_force(connection)
        if earlier is not None:
            return earlier
        chosen = policy or known
        company, wanted = self._read(number, facts, chosen)
        if request is not None and wanted.status in DONE:
            raise RefusedError(
                "order-state", f"order {wanted.order.order_id} is {wanted.status}: nothing is left to send"
            )

        def work(connection: Connection, _also: frozenset[PoolKey]) -> Stored:
            stock = _stock(connection, wanted, is_locking=request is not None)
            if request is not None:
                made = _earlier(connection, request)
                if made is not None:
                    return made
                standing = record.standing(connection, wanted.order.order_id)
                if standing is not None:
                    raise RefusedError(
                        "already-sourced",
                        f"order {wanted.order.order_id} is being carried out by {standing.decision_id}: review or "
                        "release that first",
                        {"decision_id": standing.decision_id, "reservation_id": standing.reservation_id},
                    )
            inputs = gather(connection, company, _at(wanted, stock.now), stock)
            if planned is not None:
                inputs = _as_planned(planned, inputs, chosen)
            decided = source_order(inputs.day.orders[0], inputs.day.network(), chosen)
            return self._keep(
                connection, decided, inputs, chosen, company, stock, wanted, by=by, request=request
            )

        return repeat(self._database, work)

    def review(
        self, decision_id: str, *, by: str, tenant: str | None, is_carried_out: bool = False
    ) -> Reviewed:
        """Look at a decision again before picking, with stock and nodes as they are now.

        Args:
            tenant: whose it must be; None: anybody's.
            is_carried_out: where the decision no longer stands and another one fills the order, release what it
                reserved and carry out the other, in one transaction.

        Raises:
            FulfilmentError: there is no such decision, it is another tenant's, or nothing is left of it to be changed
                ("reservation-state").
        """
        with self._database.begin() as connection:
            earlier = record.read(connection, decision_id)
            known, facts = rules.in_force(connection)
        if tenant is not None:
            record.check_tenant(earlier, tenant)
        if is_carried_out and (earlier.reservation_id is None or earlier.tenant is None):
            raise RefusedError(
                "reservation-state", f"{decision_id} was a dry run, or unfilled: there is nothing to replace"
            )
        company, wanted = self._read(earlier.order_id, facts, known)

        def work(connection: Connection, _also: frozenset[PoolKey]) -> Reviewed:
            stock = _stock(connection, wanted, is_locking=is_carried_out)
            own = _own(connection, earlier, stock)
            if is_carried_out and not any(made.state == ALLOCATED for made in own):
                raise RefusedError("reservation-state", f"what {decision_id} reserved is no longer allocated")
            inputs = gather(connection, company, _at(wanted, stock.now), stock, own)
            looked: Review = review(earlier.replay(), inputs.day.orders[0], inputs.day.network(), known)
            fresh = None
            if is_carried_out and not looked.keeps and looked.fresh.is_filled:
                assert earlier.tenant is not None
                assert earlier.reservation_id is not None
                _carried_out(
                    ledger.apply(connection, [Change("release", earlier.tenant, earlier.reservation_id, by)])
                )
                key = f"review of {decision_id}"
                again = Request(earlier.tenant, key, hashlib.sha256(key.encode()).digest())
                fresh = self._keep(
                    connection, looked.fresh, inputs, known, company, stock, wanted, by=by, request=again,
                    replaces=decision_id,
                )  # fmt: skip
            return Reviewed(looked.keeps, looked.score, looked.fresh, fresh)

        return repeat(self._database, work)

    def refuse(self, decision_id: str, location_id: str, reason: str, *, by: str, tenant: str) -> None:
        """Note that a node refuses to send its parcel, and release what the decision reserved.

        The node is closed for this order from now on, and the refusal counts in its reliability.

        Raises:
            FulfilmentError: there is no such decision, it is another tenant's, or the node sends nothing of it.
        """

        def work(connection: Connection, _also: frozenset[PoolKey]) -> None:
            stored = record.read(connection, decision_id)
            record.check_tenant(stored, tenant)
            if location_id not in {parcel["node_id"] for parcel in stored.decision["parcels"]}:
                raise UnknownError("unknown-node", f"{decision_id} has no parcel from {location_id!r}")
            if stored.reservation_id is None:
                raise RefusedError(
                    "reservation-state", f"{decision_id} was a dry run: nobody was asked to send anything"
                )
            _carried_out(ledger.apply(connection, [Change("release", tenant, stored.reservation_id, by)]))
            added = connection.execute(
                text(
                    "INSERT INTO orderhub.sourcing_refusals (decision_id, location_id, reason, refused_by) "
                    "VALUES (:id, :node, :reason, :by) ON CONFLICT DO NOTHING"
                ),
                {"id": decision_id, "node": location_id, "reason": reason, "by": by},
            )
            if added.rowcount:
                said = {"decision": decision_id, "location": location_id, "reason": reason}
                log.append(
                    connection, [log.Happening("sourcing.refused", by, f"order/{stored.order_id}", said)]
                )

        repeat(self._database, work)

    def inputs(self, numbers: Sequence[str]) -> tuple[list[Inputs], dict[str, str]]:
        """Inputs of orders as they were placed, with nodes and stock as they are now, and why some have none."""
        with self._database.begin() as connection:
            known, facts = rules.in_force(connection)
        found: list[Inputs] = []
        left_out: dict[str, str] = {}
        for number in numbers:
            try:
                company, wanted = self._read(number, facts, known)
                with self._database.begin() as connection:
                    found.append(
                        gather(connection, company, wanted, _stock(connection, wanted, is_locking=False))
                    )
            except FulfilmentError as error:
                left_out[number] = str(error)
        return found, left_out

    def _read(self, number: str, facts: Facts, policy: Policy) -> tuple[Company, Wanted]:
        with self._database.read() as connection:
            company = self._company
            if company is None or (company.release_id, company.facts) != (
                Released(connection).release_id,
                facts,
            ):
                company = self._company = read_company(connection, facts)
            return company, read_order(connection, number, facts, list(policy.tiers))

    def _keep(
        self,
        connection: Connection,
        decided: Decision,
        inputs: Inputs,
        policy: Policy,
        company: Company,
        stock: Stock,
        wanted: Wanted,
        *,
        by: str,
        request: Request | None,
        replaces: str | None = None,
    ) -> Stored:
        decision_id = record.new_id()
        reservation_id = None
        if request is not None and decided.plan is not None:
            reservation_id = _reserve(connection, decision_id, decided, wanted, stock, request.tenant, by)
        stored = record.save(
            connection, decision_id, decided, inputs, policy, at=stock.now, by=by, release_id=company.release_id,
            facts_version=None if company.facts is rules.NO_FACTS else company.facts.version,
            tenant=None if request is None else request.tenant,
            request=None if request is None else (request.key, request.body_sha256),
            reservation_id=reservation_id, replaces=replaces,
        )  # fmt: skip
        if request is not None:
            said = {
                "decision": decision_id,
                "policy": policy.version,
                "policy_sha256": policy.sha256,
                "release": company.release_id,
                "nodes": [parcel.node_id for parcel in decided.parcels],
                "reservation": reservation_id,
                "replaces": replaces,
            }
            kind = "order.sourced" if decided.is_filled else "order.unfilled"
            log.append(connection, [log.Happening(kind, by, f"order/{decided.order.order_id}", said)])
        return stored


def _as_planned(planned: Decision, inputs: Inputs, policy: Policy) -> Inputs:
    """Inputs from which the plan of a batch follows: of the other nodes the goods are kept for other orders.

    Where the plan can no longer be sent the inputs stay as they are.
    """
    day = inputs.day
    if planned.plan is None or review(planned, day.orders[0], day.network(), policy).score is None:
        return inputs
    takes = {
        (sku_id, parcel.node_id): qty for parcel in planned.parcels for sku_id, qty in parcel.takes.items()
    }
    sends = {parcel.node_id for parcel in planned.parcels}
    return replace(
        inputs,
        day=replace(
            day,
            nodes=tuple(
                node
                if node.node_id in sends
                else replace(node, closed_reason=node.closed_reason or "kept for other orders of the batch")
                for node in day.nodes
            ),
            shelves=tuple(
                replace(shelf, free_qty=min(shelf.free_qty, takes.get((shelf.sku_id, shelf.node_id), ZERO)))
                if len(sends) > 1 and shelf.node_id in sends
                else shelf
                for shelf in day.shelves
            ),
        ),
    )


def _at(wanted: Wanted, now: datetime) -> Wanted:
    return replace(wanted, order=replace(wanted.order, at=now))


def _earlier(connection: Connection, request: Request | None) -> Stored | None:
    return (
        None
        if request is None
        else record.of_request(connection, request.tenant, request.key, request.body_sha256)
    )


def _stock(connection: Connection, wanted: Wanted, *, is_locking: bool) -> Stock:
    skus = {line.sku_id for line in wanted.order.lines}
    if not is_locking:
        return ledger.look(connection, (), skus)
    stock = ledger.lock(connection, (), skus)
    ledger.write(connection, stock)  # what lapsed is freed for good
    return stock


def _own(connection: Connection, earlier: Stored, stock: Stock) -> list[Reservation]:
    if earlier.reservation_id is None:
        return []
    return list(ledger.read_reservations(connection, [earlier.reservation_id], stock).values())


def _reserve(
    connection: Connection,
    decision_id: str,
    decided: Decision,
    wanted: Wanted,
    stock: Stock,
    tenant: str,
    by: str,
) -> str:
    """Reserve and allocate what a plan takes, all of it.

    Raises:
        FulfilmentError: it cannot be had; the caller's transaction is to be rolled back.
    """
    needed_on = max(decided.order.needed_on, stock.now.date())
    lines = tuple(
        Line(sku_id, qty, None, (parcel.node_id,), needed_on, None)
        for parcel in decided.parcels
        for sku_id, qty in sorted(parcel.takes.items())
    )
    ask = Ask(
        tenant, f"sourcing {decision_id}", hashlib.sha256(decision_id.encode()).digest(), by, wanted.channel, lines, _HOLD,
        order_reference=decided.order.order_id,
    )  # fmt: skip
    made = _carried_out(ledger.apply(connection, [ask]))
    _carried_out(ledger.apply(connection, [Change("allocate", tenant, made, by)]))
    return made


def _carried_out(answers: Sequence[ledger.Answer | FulfilmentError]) -> str:
    """Id of the one reservation a command was about.

    Raises:
        FulfilmentError: it was refused.
    """
    (answer,) = answers
    if isinstance(answer, FulfilmentError):
        raise answer
    return answer.reservation.reservation_id
