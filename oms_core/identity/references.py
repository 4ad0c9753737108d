"""Which order documents are one purchase: reference chains across systems with their noise, split and merged orders, and
corroborated evidence where a reference was lost.

Nothing is guessed. A reference that is not found as written is looked for in the forms that people and imports turn numbers
into, and counts only where one document alone can be meant; a document without a reference needs buyer, currency, amount,
goods and time to agree with exactly one other.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from itertools import combinations, pairwise, permutations, product
from operator import itemgetter
from typing import Any, NamedTuple

from rapidfuzz.distance import OSA

from oms_core.identity import address, normalise
from oms_core.identity.cluster import Edge
from oms_core.identity.names import compatible

Row = Mapping[str, Any]

_SHORTEST_KEY = 10
_SHORTEST_TRACKING = 8
# Only numbers of so many signs are looked for by what a cut or a slip left of them.
_SHORTEST_TYPED = 10
_MOST_NEIGHBOURS = 200
_COUNTED = 3  # last signs in which numbers of one sequence differ
# How far apart two systems may date one purchase whose reference was lost: an import that ran late.
_WINDOW = timedelta(days=3)
_SAME_DAY = timedelta(days=1)
# A system keeps a document of another's orders as a rule when it has so many, and such a share of them.
_LEAST_BOOKED, _MOSTLY = 10, 0.8
_BETWEEN = re.compile(r"\s+/\s+|[,;|+&\n、，；]|\s{2,}|\s(?:AND|UND|ET|Y)\s|和|及")
_ABOUT = re.compile(
    r"\b(?:ORDERS?|ORDER|ORD|NO|NR|NUM|NUMBER|PO|REF|REFERENCE|YOUR|OUR|CUSTOMER|WEB|SHOP|STORE|SALE|SALES|MARKETPLACE|BESTELLUNG"
    r"|AUFTRAG|COMMANDE|PEDIDO|N°)\b|订单号?|訂單號?|单号|单|[#№:.]"
)
_PART_OF = re.compile(r"[-/._]\d{1,2}$|[-/._]?[A-D]$|\(\d{1,2}\)$")
_OWN_BOOKS = "direct"  # channel of a document that an ERP keeps, whoever sold
_SENDS = ("fulfilment", "shipment")  # roles of documents that may be about goods of several orders
_INVOICE = "invoice"  # role of a document that bills several orders of its own system, each by its number
_PART, _SHARED = " (part)", " (one of several)"
_UNPRICED = "same day and goods"  # rule where one of two documents tells no amount
_TRACKING = "tracking_number"  # rule of what only a parcel's number tells
_LOT = "lot"  # rule of what only the goods' lots tell
_STEP = re.compile(r"^(.*[/-])[A-Z]+[/-](\d+)$")  # WH/PICK/00042 and WH/OUT/00042
_ALIKE = str.maketrans("OIL", "011")
_RUN = re.compile(r"\d+|[A-Z]+")


class OrphanReason(StrEnum):
    """Why a document hangs on no order: the closed list."""

    NO_REFERENCE = "no_reference"
    UNKNOWN_REFERENCE = "unknown_reference"
    AMBIGUOUS_REFERENCE = "ambiguous_reference"
    STANDS_FOR_SEVERAL = "stands_for_several"


class Orphan(NamedTuple):
    """Why one document hangs on no order; `detail` is a sentence with the numbers met."""

    reason: OrphanReason
    detail: str


@dataclass(frozen=True)
class OrderLinks:
    """How order records hang together.

    `edges` join order documents; `hangers` put a fulfilment or shipment record on an order document; `orphans` names each
    record that hangs on nothing, with the reason. `shared` are records that name several orders: an order document that
    several others add up to (these are `merged`: one of their orders is none of it alone), or a parcel for more than one.
    `ways` are what an orphan names that is no order: record id -> (records, each with the rule).
    """

    edges: list[Edge]
    hangers: dict[str, tuple[str, str]]  # record id -> (record id it hangs on, rule)
    orphans: dict[str, Orphan]
    shared: Mapping[str, tuple[tuple[str, ...], str]] = field(
        default_factory=dict
    )  # -> (records named, rule)
    merged: frozenset[str] = frozenset()
    ways: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    def with_more(self, more: Corroborated) -> OrderLinks:
        """These links and those that agreement adds; what hangs now is an orphan no longer, nor is what names it."""
        hangers = {**self.hangers, **more.hangers}
        following: dict[str, tuple[str, str]] = dict(more.hangers)
        while following:
            following = {
                record: (following[named][0], rule)
                for record, ways in self.ways.items()
                if record not in hangers
                for named, rule in reversed(ways)  # the first way counts
                if named in following
            }
            hangers |= following
        return OrderLinks(
            sorted({*self.edges, *more.edges}),
            hangers,
            {record: orphan for record, orphan in self.orphans.items() if record not in hangers},
            self.shared,
            self.merged,
            {record: ways for record, ways in self.ways.items() if record not in hangers},
        )


@dataclass(frozen=True)
class _Hit:
    """What a reference names: `strength` as edges count it, `nth` for how directly it was said."""

    target: str
    strength: int
    nth: int
    rule: str
    text: str = ""


@dataclass
class _Numbers:
    """Every number any document is known by, and the forms people turn numbers into."""

    exact: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @cached_property
    def _codes(self) -> dict[str, list[str]]:
        return self._by(lambda number: normalise.code(number) or "")

    @cached_property
    def _skeletons(self) -> dict[str, list[str]]:
        return self._by(_skeleton)

    def _by(self, form: Any) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for number in self.exact:
            if key := form(number):
                found[key].append(number)
        return found

    @cached_property
    def _sorted(self) -> tuple[list[str], list[str]]:
        return sorted(self._codes), sorted(code[::-1] for code in self._codes)

    @cached_property
    def _halves(self) -> dict[tuple[int, str], list[str]]:
        halves: dict[tuple[int, str], list[str]] = defaultdict(list)
        for code in self._codes:
            if len(code) >= _SHORTEST_TYPED:
                halves[0, code[:5]].append(code)
                halves[1, code[-5:]].append(code)
        return halves

    def respelled(self, candidate: str) -> Iterator[tuple[str, list[str]]]:
        """Numbers a candidate may be another form of, closest form first: (what happened to it, numbers)."""
        code = normalise.code(candidate) or ""
        yield "punctuation", self._codes.get(code, [])
        # LZD410000565268290: the system's short name runs into a number that is too long to be met by chance.
        glued = itertools.takewhile(
            lambda at: candidate[:at].isalpha(), range(1, len(candidate) - _SHORTEST_KEY + 1)
        )
        yield "prefix", [candidate[at:] for at in glued if candidate[at:] in self.exact]
        if (base := _PART_OF.sub("", candidate)) != candidate and len(base) >= 4:
            yield "suffix", [base] if base in self.exact else []
        yield "look-alike", self._skeletons.get(_skeleton(candidate), [])

    def damaged(self, candidate: str) -> Iterator[tuple[str, list[str]]]:
        """Numbers of which a candidate may be what a cut or a slip left."""
        code = normalise.code(candidate) or ""
        digits = sum(sign.isdigit() for sign in code)
        if len(code) >= _SHORTEST_TYPED - 1 and digits >= 5:
            # Both at once: in a dense sequence a number one sign short is the beginning of some other number, too.
            found = {*self._longer(code), *self._one_off(code)}
            yield "cut off or mistyped", [number for other in sorted(found) for number in self._codes[other]]

    def is_known(self, code: str) -> bool:
        """Whether a document has this very number, however it is punctuated."""
        return code in self._codes

    def is_in_sequence(self, code: str) -> bool:
        """Whether other numbers are the same but for their last signs, as numbers counted up are."""
        forwards, _ = self._sorted
        stem = code[:-_COUNTED]
        at = bisect_left(forwards, stem)
        return sum(name.startswith(stem) for name in forwards[at : at + 3]) > 1

    def _longer(self, code: str) -> list[str]:
        """Numbers that begin or end with a code."""
        forwards, backwards = self._sorted
        found: list[str] = []
        for names, part, turned in ((forwards, code, False), (backwards, code[::-1], True)):
            at = bisect_left(names, part)
            while at < len(names) and names[at].startswith(part) and len(found) < 2:
                found.append(names[at][::-1] if turned else names[at])
                at += 1
        return found

    def _one_off(self, code: str) -> list[str]:
        """Numbers that differ by one sign left out or two swapped; one sign for another is another number."""
        near = [*self._halves.get((0, code[:5]), ()), *self._halves.get((1, code[-5:]), ())]
        if len(near) > _MOST_NEIGHBOURS:
            return []
        return sorted(
            {
                other
                for other in near
                if other != code
                and (len(other) == len(code) + 1 or sorted(other) == sorted(code))
                and OSA.distance(code, other, score_cutoff=1) == 1
            }
        )


def _skeleton(number: str) -> str:
    """A number with look-alike signs as one and without the noughts that begin its runs of digits."""
    text = (normalise.order_number(number) or "").translate(_ALIKE)
    return "-".join(run.lstrip("0") or "0" for run in _RUN.findall(text))


def _has_digit(text: str) -> bool:
    return any(sign.isdigit() for sign in text)


def reference_chunks(value: str | None) -> list[tuple[list[str], list[str]]]:
    """The references one text holds: for each, what it may say as a whole, and words of it that may be numbers.

    'SO26-1001 / Shopify #1001' holds two; 'rush 2000' holds one, whose word 2000 is a number only if nothing better is.
    """
    text = unicodedata.normalize("NFKC", value or "").upper().strip()
    found = []
    for chunk in _BETWEEN.split(text):
        whole = normalise.order_number(chunk)
        if whole is None or normalise.code(whole) is None:
            continue
        bare = normalise.order_number(_ABOUT.sub(" ", chunk))
        parts = chunk.split()
        # "Sale SO26 1199": a number that was taken apart, not sale 1199.
        rejoined = [f"{one}-{two}" for one, two in pairwise(parts) if _has_digit(one) and _has_digit(two)]
        wholes = [form for form in (whole, bare, *rejoined) if form]
        words = [] if rejoined else normalise.reference_candidates(chunk)
        found.append((list(dict.fromkeys(wholes)), words))
    return found


def order_links(
    records: Sequence[Row], references: Sequence[Row], shipments: Sequence[Row] = ()
) -> OrderLinks:
    """Follow order references across systems.

    Args:
        records: rows of `int_order_records` (record_id, source_system, document_role, order_number, source_key, channel;
            currency and net_amount where known).
        references: rows of `int_order_references`.
        shipments: rows of `int_shipments` (order_record_id, tracking_number): a parcel's number joins those who know it.
    """
    chain = _Chain(sorted(records, key=itemgetter("record_id")))
    # Engines hand rows out in any order, and of two references that say the same the first one counts.
    chain.follow(sorted(references, key=_said))
    chain.follow_parcels(shipments)
    return chain.links()


def _said(reference: Row) -> tuple[str, ...]:
    named = ("order_record_id", "reference_type", "reference_value", "target_system")
    return tuple(reference[name] or "" for name in named)


class _Chain:
    """The references of one run, as they are found."""

    def __init__(self, records: Sequence[Row]) -> None:
        self.rows = {row["record_id"]: row for row in records}
        self.systems = sorted({row["source_system"] for row in records})
        self.numbers = _Numbers()
        for row in records:
            names = {normalise.order_number(row["order_number"])}
            key = normalise.order_number(row["source_key"])
            # A short internal id of one system looks like another system's order number.
            if key is not None and len(key) >= _SHORTEST_KEY:
                names.add(key)
            for value in sorted(filter(None, names)):
                self.numbers.exact[value].append(row["record_id"])
        self.hits: dict[str, dict[str, _Hit]] = defaultdict(dict)
        self.faults: dict[str, Orphan] = {}
        # Numbers that no document here has -> the documents that name them, each with the text it does so in.
        self.unseen: dict[str, dict[str, str]] = defaultdict(dict)
        # Order document -> those that their own references make one purchase with it.
        self.purchases: Mapping[str, frozenset[str]] = {}

    def is_order(self, record: str) -> bool:
        return bool(self.rows[record]["document_role"] == "order")

    def add(self, origin: str, hit: _Hit) -> None:
        known = self.hits[origin].get(hit.target)
        if known is None or (hit.strength, hit.nth) < (known.strength, known.nth):
            self.hits[origin][hit.target] = hit

    def follow(self, references: Sequence[Row]) -> None:
        for reference in references:
            origin = reference["order_record_id"]
            if origin not in self.rows:
                continue
            found, fault = self._read(origin, reference)
            if fault is not None and not found:
                self.faults.setdefault(origin, fault)
            # Of several in one text, some may be orders of a system that is not here.
            if all(hit.text for hit in found):
                places = {hit.nth for hit in found}
                for nth, (wholes, words) in enumerate(reference_chunks(reference["reference_value"])):
                    for number in {*wholes, *words} if nth not in places else ():
                        if len(number) >= _SHORTEST_TYPED and _has_digit(number):
                            self.unseen[number].setdefault(origin, reference["reference_value"])
            for hit in found:
                self.add(origin, hit)

    def _read(self, origin: str, reference: Row) -> tuple[list[_Hit], Orphan | None]:
        value, rule = reference["reference_value"], f"reference:{reference['reference_type']}"
        hint = reference["target_system"] or self._named(value)
        whole = normalise.order_number(value)
        if whole is None:
            return [], _unknown(value)
        target, fault = self._lookup(origin, self.numbers.exact.get(whole, ()), hint, value)
        if target is not None:
            return [_Hit(target, 1, 0, rule)], None
        chunks = reference_chunks(value)
        # What a device read off a label has no slips, and no word of it is a number: 001041 of WH-CN/OUT/001041 is not #1041.
        is_scanned = reference["reference_type"] == "scanned"
        if is_scanned:
            chunks = [(wholes, []) for wholes, _ in chunks]
        found: list[_Hit] = []
        for nth, (wholes, words) in enumerate(chunks):
            for candidate in wholes:
                target, why = self._lookup(origin, self.numbers.exact.get(candidate, ()), hint, value)
                fault = fault or why
                if target is not None:
                    found.append(_Hit(target, 1, nth, rule, value))
                    break
            else:
                # Among several, a number stands for itself behind its system's name, or where it is too long for chance.
                named = self._named(wholes[0]) if len(chunks) > 1 else None
                for candidate in words if len(chunks) > 1 else ():
                    target, _ = self._lookup(origin, self.numbers.exact.get(candidate, ()), named, value)
                    is_meant = target is not None and self.rows[target]["source_system"] == named
                    if target is not None and (is_meant or len(candidate) >= _SHORTEST_TYPED):
                        found.append(_Hit(target, 1, nth, rule, value))
                        break
        if found:
            return found, None
        # A whole number in another form comes before a word of it: "SO26 1199" is not order 1199.
        for wholes, _ in chunks:
            for candidate in wholes:
                hit = self._noisy(origin, hint, rule, value, self.numbers.respelled(candidate))
                if hit is not None:
                    return [hit], None
        for _, words in chunks:
            for candidate in words:
                target, why = self._lookup(origin, self.numbers.exact.get(candidate, ()), hint, value)
                fault = fault or why
                if target is not None:
                    return [_Hit(target, 1, 9, rule)], None
                if why is not None:
                    return [], why
        if fault is not None:
            return [], fault
        for wholes, words in chunks:
            for candidate in dict.fromkeys((*wholes, *words)):
                forms = self.numbers.respelled(candidate)
                if not is_scanned:
                    forms = itertools.chain(forms, self.numbers.damaged(candidate))
                hit = self._noisy(origin, hint, rule, value, forms)
                if hit is not None:
                    return [hit], None
        return [], _unknown(value)

    def _noisy(
        self, origin: str, hint: str | None, rule: str, value: str, forms: Iterable[tuple[str, list[str]]]
    ) -> _Hit | None:
        for noise, numbers in forms:
            targets = [record for number in numbers for record in self.numbers.exact[number]]
            target, _ = self._lookup(origin, targets, hint, value)
            if target is None:
                if self._possible(origin, targets):
                    return None  # several could be meant; no wilder form makes that better
                continue
            if noise == "cut off or mistyped" and not self._agree(origin, target, value):
                return None
            return _Hit(target, 2, 20, f"{rule} ({noise})")
        return None

    def _agree(self, origin: str, target: str, value: str) -> bool:
        """Whether what two documents say beside a damaged number allows it to be that of the other.

        A number that some document has was not damaged. One out of a sequence is a slip away from many others: amount,
        buyer or destination must be the same, too.
        """
        if (code := normalise.code(value)) is not None and self.numbers.is_known(code):
            return False
        if self._amounts_differ(origin, target):
            return False
        left, right = self.rows[origin], self.rows[target]
        places = [normalise.code(row.get("ship_to_postcode")) for row in (left, right)]
        if None not in places and places[0] == places[1]:
            return True
        if _money(left) is not None and _money(left) == _money(right):
            return True
        if left["customer_key"] is not None and left["customer_key"] == right["customer_key"]:
            return True
        return not self.numbers.is_in_sequence(normalise.code(right["order_number"]) or "")

    def _amounts_differ(self, left: str, right: str) -> bool:
        one, other = _money(self.rows[left]), _money(self.rows[right])
        return one is not None and other is not None and one != other

    def _possible(self, origin: str, targets: Iterable[str]) -> list[str]:
        own, is_order = self.rows[origin]["source_system"], self.is_order(origin)
        return [
            record
            for record in dict.fromkeys(targets)
            if record != origin
            and (self.rows[record]["source_system"] != own or (not is_order and self.is_order(record)))
        ]

    def _lookup(
        self, origin: str, targets: Iterable[str], hint: str | None, value: str
    ) -> tuple[str | None, Orphan | None]:
        """The one document meant, or why there is none; neither where no document has the number."""
        possible = self._possible(origin, targets)
        if hint is not None:
            possible = [
                record for record in possible if self.rows[record]["source_system"] == hint
            ] or possible
        if len(possible) == 1:
            return possible[0], None
        if len({self.rows[record]["source_system"] for record in possible}) == 1:
            return None, _ambiguous(f"{value!r} names {len(possible)} orders of one system")
        if possible:
            orders = [record for record in possible if self.is_order(record)]
            if len(orders) == 1:
                return orders[0], None
            return None, _ambiguous(f"{value!r} could be an order of {len(possible)} systems")
        return None, None

    def _named(self, value: str | None) -> str | None:
        text = normalise.plain(value) or ""
        named = [system for system in self.systems if system in text]
        return named[0] if len(named) == 1 else None

    def follow_parcels(self, shipments: Sequence[Row]) -> None:
        """Records that know one parcel by its tracking number name each other, after everything they name themselves."""
        parcels: dict[str, set[str]] = defaultdict(set)
        for row in shipments:
            number = normalise.code(row["tracking_number"])
            if (
                number is not None
                and len(number) >= _SHORTEST_TRACKING
                and row["order_record_id"] in self.rows
            ):
                parcels[number].add(row["order_record_id"])
        for records in parcels.values():
            # A number that several documents of one system know is used again, or is one parcel for several orders.
            systems = [self.rows[record]["source_system"] for record in records]
            if len(set(systems)) < len(systems):
                continue
            for left, right in combinations(sorted(records), 2):
                for origin, target in ((left, right), (right, left)):
                    if not self.is_order(origin):
                        self.add(origin, _Hit(target, 2, 50, _TRACKING))

    def links(self) -> OrderLinks:
        self._name_back()
        self._follow_steps()
        self._follow_unseen()
        merged = self._merged()
        parts = self._parts(merged)
        edges: set[Edge] = set()
        for origin, hits in self.hits.items():
            if self.is_order(origin) and origin not in merged:
                edges |= {
                    _edge(
                        hit.strength,
                        origin,
                        hit.target,
                        f"{hit.rule}{_PART}" if origin in parts else hit.rule,
                    )
                    for hit in hits.values()
                    if self.is_order(hit.target) and hit.target not in merged
                }
        self.purchases = _joined(edges)
        hangers: dict[str, tuple[str, str]] = {}
        orphans: dict[str, Orphan] = {}
        ways: dict[str, tuple[tuple[str, str], ...]] = {}
        shared = {record: (found, self._rule(record, found)) for record, found in merged.items()}
        for record in sorted(self.rows):
            if self.is_order(record):
                continue
            reached = self._reach(record, merged)
            if not reached:
                met = [self.rows[target]["order_number"] for target in self.hits[record] if target in merged]
                missing = (
                    Orphan(OrphanReason.STANDS_FOR_SEVERAL, f"{met[0]} stands for several orders")
                    if met
                    else Orphan(OrphanReason.NO_REFERENCE, "it refers to no order")
                )
                orphans[record] = self.faults.get(record, missing)
                ways[record] = tuple(
                    (hit.target, hit.rule)
                    for hit in sorted(self.hits[record].values(), key=_directness)
                    if not self.is_order(hit.target)
                )
                continue
            hangers[record] = (reached[0].target, reached[0].rule)
            if several := self._stands_for(record, merged):
                shared[record] = (several, self._rule(record, several))
            if not self._one_purchase(reached, is_list=record in shared):
                continue
            edges |= {
                _edge(2, left.target, right.target, left.rule) for left, right in combinations(reached, 2)
            }
        return OrderLinks(sorted(edges), hangers, orphans, shared, frozenset(merged), ways)

    def _name_back(self) -> None:
        """A delivery that lost its reference hangs on the parcel that names it, if that parcel names the order, too."""
        for origin in sorted(self.hits):
            if self.is_order(origin) or not any(self.is_order(target) for target in self.hits[origin]):
                continue
            for target in sorted(self.hits[origin]):
                if not self.is_order(target) and not self.hits.get(target):
                    self.add(target, _Hit(origin, 2, 90, self.hits[origin][target].rule))

    def _follow_steps(self) -> None:
        """A step of a delivery that lost its reference goes where the other steps of its number go: pick, pack, send.

        Only where those that have their references show that one system numbers its steps alike.
        """
        steps: dict[tuple[Any, ...], list[str]] = defaultdict(list)
        for record, row in self.rows.items():
            found = _STEP.match(row["order_number"] or "")
            if row["document_role"] == "fulfilment" and found is not None and row["customer_key"] is not None:
                steps[row["source_system"], found.group(1), found.group(2), row["customer_key"]].append(
                    record
                )
        agreeing: Counter[str] = Counter()
        shown: Counter[str] = Counter()
        for (system, *_), records in steps.items():
            for left, right in combinations(records, 2):
                if self.hits.get(left) and self.hits.get(right):
                    shown[system] += 1
                    agreeing[system] += not self.hits[left].keys().isdisjoint(self.hits[right])
        for (system, *_), records in steps.items():
            if shown[system] < _LEAST_BOOKED or agreeing[system] < _MOSTLY * shown[system]:
                continue
            telling = [record for record in records if self.hits.get(record)]
            for record in records:
                if not self.hits.get(record):
                    for other in telling:
                        for hit in list(self.hits[other].values()):
                            self.add(record, _Hit(hit.target, 2, 95, "step of one delivery"))
            if not telling:
                for record, other in permutations(records, 2):
                    self.add(record, _Hit(other, 2, 95, "step of one delivery"))

    def _follow_unseen(self) -> None:
        """Documents that name one number that no system here shows are of one order, if they allow it."""
        for _, texts in sorted(self.unseen.items()):
            documents = sorted(
                origin for origin in texts if self.is_order(origin) and not self.hits.get(origin)
            )
            systems = {self.rows[origin]["source_system"] for origin in documents}
            if not documents or len(systems) < len(documents):
                continue
            if any(self._amounts_differ(left, right) for left, right in combinations(documents, 2)):
                continue
            for origin, text in sorted(texts.items()):
                if origin in documents[1:] or not (
                    self.is_order(origin) or self._names_elsewhere(origin, text)
                ):
                    self.add(origin, _Hit(documents[0], 2, 60, "reference:unseen", text))

    def _names_elsewhere(self, origin: str, text: str) -> bool:
        """Whether a document names an order outside a text; the way by another delivery does not count."""
        return any(self.is_order(hit.target) and hit.text != text for hit in self.hits[origin].values())

    def _reach(self, record: str, merged: Mapping[str, Any]) -> list[_Hit]:
        """Order documents a record leads to, nearest first; each with the rule that the way began with."""
        seen = {record}
        found: list[_Hit] = []
        frontier = [(hit, hit.rule) for hit in sorted(self.hits[record].values(), key=_directness)]
        while frontier:
            following = []
            for hit, rule in frontier:
                if hit.target in seen or hit.target in merged:
                    continue
                seen.add(hit.target)
                if self.is_order(hit.target):
                    found.append(_Hit(hit.target, hit.strength, hit.nth, rule))
                else:
                    further = sorted(self.hits[hit.target].values(), key=_directness)
                    following += [(step, rule) for step in further]
            frontier = following
        return found

    def _sold_apart(self, records: Iterable[str]) -> bool:
        """Whether order documents are of several shops, or several of one system: then they are several purchases.

        Each speaks for all that it is one with by its own references: a sale in the books for the shop's order it names.
        """
        purchases = {self.purchases.get(record, frozenset({record})) for record in records}
        systems = [{self.rows[record]["source_system"] for record in purchase} for purchase in purchases]
        shops = {self.rows[record]["channel"] for purchase in purchases for record in purchase}
        return sum(map(len, systems)) > len(set().union(*systems)) or len(shops - {None, _OWN_BOOKS}) > 1

    def _one_purchase(self, reached: Sequence[_Hit], *, is_list: bool) -> bool:
        """Whether the orders that one delivery names can be one: one document each of several systems, amounts alike.

        Where it lists them as several, their amounts have to be known.
        """
        if len(reached) < 2 or self._sold_apart(hit.target for hit in reached):
            return False
        amounts = [self._amounts(hit.target) for hit in reached]
        return not any(
            one.isdisjoint(other) and (is_list or (one and other)) for one, other in combinations(amounts, 2)
        )

    def _amounts(self, record: str) -> set[tuple[str, Decimal]]:
        """What the documents of a purchase say it costs."""
        purchase = self.purchases.get(record, frozenset({record}))
        return {money for known in purchase if (money := _money(self.rows[known])) is not None}

    def _stands_for(self, record: str, merged: Collection[str]) -> tuple[str, ...]:
        """The several order documents that a record is about; one is none."""
        row = self.rows[record]
        if row["document_role"] in _SENDS:
            return self._several(record, merged)
        if row["document_role"] != _INVOICE:
            return ()
        billed = [
            target
            for target in self.hits[record]
            if self.is_order(target)
            and target not in merged
            and self.rows[target]["source_system"] == row["source_system"]
        ]
        return tuple(sorted(billed)) if len(billed) > 1 else ()

    def _several(
        self, record: str, merged: Collection[str], seen: frozenset[str] = frozenset()
    ) -> tuple[str, ...]:
        """Order documents that one text of a record names word for word, or of the delivery it names; one is none."""
        named: dict[str, list[str]] = defaultdict(list)
        for hit in self.hits[record].values():
            if self.is_order(hit.target) and hit.text and hit.target not in merged:
                named[hit.text].append(hit.target)
        for text, targets in sorted(named.items()):
            # What stands on both sides of a stroke may be two names of one purchase, unless two shops sold it.
            if len(targets) > 1 and (" / " not in text or self._sold_apart(targets)):
                return tuple(sorted(targets))
        # Another shop's order may have the parcel's number, too; what a record names itself is whose it is.
        if any(self.is_order(hit.target) and hit.rule != _TRACKING for hit in self.hits[record].values()):
            return ()
        for hit in sorted(self.hits[record].values(), key=_directness):
            if hit.target not in seen and (several := self._several(hit.target, merged, seen | {record})):
                return several
        return ()

    def _rule(self, record: str, targets: Sequence[str]) -> str:
        """The rule by which a record names the first of several orders, straight or through another record."""
        hits = self.hits[record]
        hit = next((hits[target] for target in targets if target in hits), None) or min(
            hits.values(), key=_directness
        )
        return f"{hit.rule}{_SHARED}"

    def _merged(self) -> dict[str, tuple[str, ...]]:
        """Order documents whose one reference names several orders of another system that add up to their amount."""
        merged = {}
        for origin, hits in self.hits.items():
            if not self.is_order(origin):
                continue
            named: dict[tuple[str, str], list[str]] = defaultdict(list)
            for hit in hits.values():
                if self.is_order(hit.target) and hit.text:
                    named[self.rows[hit.target]["source_system"], hit.text].append(hit.target)
            for targets in named.values():
                if len(targets) > 1 and self._adds_up(origin, targets):
                    merged[origin] = tuple(sorted(targets))
        return merged

    def _adds_up(self, whole: str, parts: Sequence[str]) -> bool:
        total, amounts = _money(self.rows[whole]), [_money(self.rows[part]) for part in parts]
        known = [amount for amount in amounts if amount is not None]
        if total is None or len(known) < len(amounts) or {currency for currency, _ in known} != {total[0]}:
            return False
        return sum((amount for _, amount in known), Decimal(0)) == total[1]

    def _parts(self, merged: Mapping[str, Any]) -> set[str]:
        """Documents of one system that name the same order, where their amounts add up to the order's.

        Where the order tells no amount, their numbers have to say so: S1 and S1-2.
        """
        naming: dict[tuple[str, str], list[str]] = defaultdict(list)
        for origin, hits in self.hits.items():
            if self.is_order(origin) and origin not in merged:
                for hit in hits.values():
                    if self.is_order(hit.target):
                        naming[hit.target, self.rows[origin]["source_system"]].append(origin)
        parts: set[str] = set()
        for (target, _), origins in naming.items():
            if len(origins) > 1 and (
                self._adds_up(target, origins) or self._numbered_as_parts(target, origins)
            ):
                parts |= set(origins)
        return parts

    def _numbered_as_parts(self, whole: str, parts: Sequence[str]) -> bool:
        numbers = [normalise.order_number(self.rows[part]["order_number"]) or "" for part in parts]
        first, *others = sorted(numbers, key=len)
        return _money(self.rows[whole]) is None and all(
            number != first and _PART_OF.sub("", number) == first for number in others
        )


def _joined(edges: Iterable[Edge]) -> dict[str, frozenset[str]]:
    """Record -> all records that edges join it with, itself among them."""
    groups: dict[str, set[str]] = {}
    for edge in edges:
        group = groups.get(edge.left, {edge.left}) | groups.get(edge.right, {edge.right})
        groups |= dict.fromkeys(group, group)
    return {record: frozenset(group) for record, group in groups.items()}


def exclusive(documents: Iterable[Row], edges: Iterable[Edge]) -> dict[str, str]:
    """Record id -> label that one order may hold once: its system, as one purchase has one document per system.

    Parts of one order, whose amounts add up to it, have none.
    """
    system = {row["record_id"]: row["source_system"] for row in documents}
    parts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for edge in edges:
        if edge.rule.endswith(_PART) and edge.left in system and edge.right in system:
            parts[edge.left, system[edge.right]].add(edge.right)
            parts[edge.right, system[edge.left]].add(edge.left)
    split = {record for found in parts.values() if len(found) > 1 for record in found}
    return {record: label for record, label in system.items() if record not in split}


def _unknown(value: str | None) -> Orphan:
    return Orphan(OrphanReason.UNKNOWN_REFERENCE, f"no order has the number {value!r}")


def _ambiguous(detail: str) -> Orphan:
    return Orphan(OrphanReason.AMBIGUOUS_REFERENCE, detail)


def _directness(hit: _Hit) -> tuple[int, int, str]:
    return hit.strength, hit.nth, hit.target


def _edge(strength: int, left: str, right: str, rule: str) -> Edge:
    return Edge(strength, min(left, right), max(left, right), rule)


def _money(row: Row) -> tuple[str, Decimal] | None:
    currency, amount = row.get("currency"), row.get("net_amount")
    return None if currency is None or amount is None else (currency, amount)


@dataclass(frozen=True)
class Corroborated:
    """Links that stand on agreement alone, where a reference was lost."""

    edges: list[Edge]
    hangers: dict[str, tuple[str, str]]


# Asked for the lines of some order records: rows of `int_order_lines` (order_record_id, sku_key, qty, is_return).
LinesOf = Callable[[Collection[str]], Sequence[Row]]


def corroborate(
    orders: Sequence[Row],
    lines_of: LinesOf,
    links: OrderLinks,
    order_ids: Mapping[str, str],
    customers: Sequence[Row],
    customer_ids: Mapping[str, str],
    sku_ids: Mapping[str, str],
) -> Corroborated:
    """Links between documents that no reference joins, but everything else does.

    Two order documents of different systems are one where buyer, currency, net amount and quantity of every article agree,
    they are dated at most three days apart, and neither fits any other document that could still be its partner. Where one
    of them says nothing of who bought, as books of account do, they are dated at most a day apart and most orders of the
    other system are known to have such a document; if one tells no amount, every article has to be known. A fulfilment without
    a reference hangs on the one order of its customer that holds its goods.

    Args:
        orders: rows of `int_order_records` (with currency, net_amount, ordered_at, ship_to_street, ship_to_postcode).
        lines_of: asked once, for the few documents that come into question.
        links: what references say.
        order_ids, customer_ids, sku_ids: record id -> golden id, as far as known by now.
        customers: rows of `int_customer_records`.
    """
    names = {row["record_id"]: row["company_name"] or row["full_name"] for row in customers}
    documents = [row for row in orders if row["document_role"] == "order" and row["record_id"] in order_ids]
    lost = [
        row
        for row in orders
        if row["document_role"] != "order"
        and row["record_id"] in links.orphans
        and customer_ids.get(row["customer_key"] or "") is not None
    ]
    customers_of_lost = {customer_ids[row["customer_key"]] for row in lost}
    theirs = [row for row in documents if customer_ids.get(row["customer_key"] or "") in customers_of_lost]
    pairs = _alike_in_amount(documents, names, order_ids, customer_ids)
    asked = {record for left, right, _ in pairs for record in (left, right)}
    asked |= {row["record_id"] for row in (*lost, *theirs)}
    if not asked:
        return Corroborated([], {})
    goods = _goods(lines_of(asked), sku_ids)
    twins = _twins(pairs, goods, order_ids)
    # Each document has one partner, so that pairs are all there is to join.
    joined = {order_ids[edge.right]: order_ids[edge.left] for edge in twins}
    ids = {row["record_id"]: order_ids[row["record_id"]] for row in theirs}
    ids = {record: joined.get(order_id, order_id) for record, order_id in ids.items()}
    return Corroborated(twins, _hung(lost, theirs, goods, ids, customer_ids))


def by_lot(
    lots: Sequence[Row], links: OrderLinks, order_ids: Mapping[str, str]
) -> tuple[Corroborated, dict[str, Orphan]]:
    """Hang what names no order, but lots of goods, on the order that these lots went to.

    A lot that went to several orders proves nothing, nor do lots of several orders. A document that names an order nobody knows is
    of that order, whatever its lots.

    Args:
        lots: rows of `int_order_lots` (order_record_id, lot_id).
        links: what references say.
        order_ids: record id -> golden order, of all that hangs on one.

    Returns:
        The links, and what is said instead of those who find no order.
    """
    of_record: dict[str, set[str]] = defaultdict(set)
    went_to: dict[str, set[str]] = defaultdict(set)
    for row in lots:
        record, lot = row["order_record_id"], row["lot_id"]
        of_record[record].add(lot)
        went_to[lot] |= {
            order_ids[target]
            for target in links.shared.get(record, ((record,), ""))[0]
            if target in order_ids
        }
    hangers, orphans = {}, {}
    for record, orphan in links.orphans.items():
        if orphan.reason != OrphanReason.NO_REFERENCE or record not in of_record:
            continue
        own = sorted(of_record[record])
        meant = {order for lot in own if len(went_to[lot]) == 1 for order in went_to[lot]}
        if len(meant) == 1:
            hangers[record] = meant.pop(), _LOT
        elif meant:
            orphans[record] = _ambiguous(f"it names no order, and its lots went to {len(meant)} orders")
        elif crowded := [lot for lot in own if went_to[lot]]:
            detail = f"it names no order, and lot {crowded[0]} went to {len(went_to[crowded[0]])} orders"
            orphans[record] = _ambiguous(detail)
        else:
            orphans[record] = Orphan(
                OrphanReason.NO_REFERENCE, f"it names no order, and none got lot {own[0]}"
            )
    return Corroborated([], hangers), orphans


def _goods(lines: Sequence[Row], sku_ids: Mapping[str, str]) -> dict[str, dict[str, Decimal]]:
    """Quantity of each article per document; a document with a line of unknown article or quantity is left out."""
    goods: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    unknown = set()
    for line in lines:
        if line["sku_key"] is None or line["is_return"]:  # freight, fees; goods that came back
            continue
        sku = sku_ids.get(line["sku_key"])
        if sku is None or line["qty"] is None:
            unknown.add(line["order_record_id"])
        else:
            goods[line["order_record_id"]][sku] += line["qty"]
    return {record: dict(found) for record, found in goods.items() if record not in unknown}


def _same_goods(left: Mapping[str, Decimal] | None, right: Mapping[str, Decimal] | None) -> bool:
    """Whether two documents hold the same goods, where a minority of articles may not be known to be one yet.

    Those must be as many, in the same quantities: what they cost has to add up to the same amount anyway.
    """
    if not left or not right:
        return False
    shared = left.items() & right.items()
    ours, theirs = left.items() - shared, right.items() - shared
    if len(ours) > len(shared) or {sku for sku, _ in ours} & {sku for sku, _ in theirs}:
        return False
    return sorted(qty for _, qty in ours) == sorted(qty for _, qty in theirs)


def _alike_in_amount(
    documents: Sequence[Row],
    names: Mapping[str, str | None],
    order_ids: Mapping[str, str],
    customer_ids: Mapping[str, str],
) -> list[tuple[str, str, str]]:
    """Pairs of order documents, not one order yet, that agree in everything but their goods; with the name of the rule."""
    systems: dict[str, set[str]] = defaultdict(set)
    alike: dict[tuple[str, Decimal], list[Row]] = defaultdict(list)

    def keeps(books: str, shop: str) -> bool:
        """Whether one system has a document of another's orders as a rule."""
        both = together[books, shop]
        return both >= _LEAST_BOOKED and both >= _MOSTLY * together[shop, shop]

    def is_booked(row: Row, other: Row) -> bool:
        """Whether one of two documents says nothing of its buyer, where the other's orders have such a document as a rule."""
        return any(
            _is_nobodys(booked, names) and keeps(booked["source_system"], order["source_system"])
            for booked, order in ((row, other), (other, row))
        )

    for row in documents:
        systems[order_ids[row["record_id"]]].add(row["source_system"])
        money = _money(row)
        if money is not None and money[1] > 0 and row["ordered_at"] is not None:
            alike[money].append(row)
    # Number of orders that hold documents of both systems.
    together = Counter(pair for held in systems.values() for pair in product(held, repeat=2))
    pairs = []
    for rows in alike.values():
        if len({row["source_system"] for row in rows}) < 2:
            continue
        rows.sort(key=lambda row: (row["ordered_at"], row["record_id"]))
        for position, row in enumerate(rows):
            for other in rows[position + 1 :]:
                if other["ordered_at"] - row["ordered_at"] > _WINDOW:
                    break
                one, two = order_ids[row["record_id"]], order_ids[other["record_id"]]
                # An order that has a document of this system already has its partner.
                if one == two or not systems[one].isdisjoint(systems[two]):
                    continue
                if _one_buyer(row, other, names, customer_ids):
                    pairs.append((row["record_id"], other["record_id"], "same buyer, amount and goods"))
                elif other["ordered_at"] - row["ordered_at"] <= _SAME_DAY and is_booked(row, other):
                    pairs.append((row["record_id"], other["record_id"], "same day, amount and goods"))
    # Orders of which no document tells an amount, beside what the books hold without an order.
    dated = [row for row in documents if row.get("ordered_at") is not None]
    dated.sort(key=lambda row: (row["ordered_at"], row["record_id"]))
    priced = {order_ids[row["record_id"]] for row in documents if _money(row) is not None}
    booked: dict[str, list[Row]] = defaultdict(list)
    for row in dated:
        if len(systems[order_ids[row["record_id"]]]) == 1 and _is_nobodys(row, names):
            booked[row["source_system"]].append(row)
    dates = {system: [row["ordered_at"] for row in rows] for system, rows in booked.items()}
    for row in dated:
        order_id = order_ids[row["record_id"]]
        for system in sorted(booked.keys() - systems[order_id]) if order_id not in priced else ():
            if keeps(system, row["source_system"]):
                first = bisect_left(dates[system], row["ordered_at"] - _SAME_DAY)
                after = bisect_right(dates[system], row["ordered_at"] + _SAME_DAY)
                pairs += [
                    (row["record_id"], other["record_id"], _UNPRICED)
                    for other in booked[system][first:after]
                    if other["currency"] == row["currency"]
                ]
    return pairs


def _twins(
    pairs: Sequence[tuple[str, str, str]],
    goods: Mapping[str, Mapping[str, Decimal]],
    order_ids: Mapping[str, str],
) -> list[Edge]:
    partners: dict[str, set[str]] = defaultdict(set)
    rules = {}
    for left, right, rule in pairs:
        ours, theirs = goods.get(left), goods.get(right)
        if ours and ours == theirs if rule == _UNPRICED else _same_goods(ours, theirs):
            partners[left].add(right)
            partners[right].add(left)
            rules[frozenset((left, right))] = rule
    edges = []
    for left, found in partners.items():
        # Documents of one order count as one partner.
        if len({order_ids[right] for right in found}) > 1:
            continue
        for right in found:
            if left < right and len({order_ids[record] for record in partners[right]}) == 1:
                edges.append(_edge(4, left, right, rules[frozenset((left, right))]))
    return edges


def _is_nobodys(row: Row, names: Mapping[str, str | None]) -> bool:
    """Whether a document says neither who bought nor where it goes."""
    named = row["customer_key"] is not None and names.get(row["customer_key"])
    return not named and row["ship_to_street"] is None and row["ship_to_postcode"] is None


def _one_buyer(
    left: Row, right: Row, names: Mapping[str, str | None], customer_ids: Mapping[str, str]
) -> bool:
    keys = left["customer_key"], right["customer_key"]
    ids = [customer_ids.get(key) if key is not None else None for key in keys]
    if ids[0] is not None and ids[0] == ids[1]:
        return True
    spelled = [names.get(key) if key is not None else None for key in keys]
    if spelled[0] and spelled[1] and compatible(spelled[0], spelled[1]):
        return True
    where = [address.read(row["ship_to_street"], postcode=row["ship_to_postcode"]) for row in (left, right)]
    places = [(found.postcode, found.door) for found in where]
    return None not in places[0] and places[0] == places[1]


def _hung(
    lost: Sequence[Row],
    documents: Sequence[Row],
    goods: Mapping[str, Mapping[str, Decimal]],
    order_ids: Mapping[str, str],
    customer_ids: Mapping[str, str],
) -> dict[str, tuple[str, str]]:
    """Fulfilments by the one order of their customer that holds their goods: record id -> (order document, rule)."""
    bought: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(documents, key=lambda row: str(row["record_id"])):
        bought[customer_ids[row["customer_key"]]][order_ids[row["record_id"]]].append(row["record_id"])
    hung = {}
    for row in lost:
        taken = goods.get(row["record_id"])
        if not taken:
            continue
        holding, touching = [], set()
        for order_id, records in bought[customer_ids[row["customer_key"]]].items():
            for record in records:
                held = goods.get(record)
                if held is None or held.keys() & taken.keys():  # goods not known may be these
                    touching.add(order_id)
                if held is not None and all(held.get(sku, Decimal(0)) >= qty for sku, qty in taken.items()):
                    holding.append(record)
        if holding and len(touching) == 1:
            hung[row["record_id"]] = (holding[0], "same customer and goods")
    return hung
