"""Exact evidence that two records are one: identifiers and what they share, for customers, SKUs and locations.

Each rule is a value two records share. A value shared by too many, or by records that contradict each other, proves
nothing: a family's phone, a marketplace's relay address, a code that was given to another article.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations, pairwise
from types import MappingProxyType
from typing import Any

from rapidfuzz.distance import OSA

from oms_core.identity import address, collective, names, normalise, places
from oms_core.identity.cluster import Edge

Row = Mapping[str, Any]

# A value that more records than this share within one source is a placeholder, not an identifier.
_MOST_SHARERS = 12
_MOST_IN_FULL = 12
# More names than this at one phone, mailbox or postcode are a crowd, in which a likeness of names means nothing.
_MOST_FORMS = 24
_MOST_NAMES_OF_ONE = 12
_MOST_NAMES_AT_MAILBOX = 3
_SHORTEST_HALF = 3  # signs of a mailbox's name by which such as differ by a slip are found
# A register enters at most one customer in five twice; three signs that two namesakes are two people are enough.
_MOST_ENTERED_TWICE = 0.2
_TWO_PEOPLE = 3
# How many namesakes may be expected by chance for a name and a postcode to mean one person.
_CHANCE = 0.05
# Evidence that looks at no mailbox, and that of it which namesakes never share; how many customers are taken to have two
# mailboxes before any are seen, as of so many; and how likely one customer must be where two of one name have two.
_NOT_BY_NAME = ("same_order", "tax_number", "account", "marketplace_buyer_id")
_NOT_BY_MAILBOX = (*_NOT_BY_NAME, "phone+name")
_TWO_MAILBOXES, _SEEN_BEFORE = 0.025, 20
_LEAST_ONE = 0.2


def stream(record_id: str) -> str:
    """The list a record stands in: source and stream."""
    return ":".join(record_id.split(":", 2)[:2])


def _chain(
    groups: Mapping[Any, Sequence[str]], rule: str, strength: int, most: int | None = None
) -> list[Edge]:
    """Edges that connect all records of each group, in a chain rather than all pairs."""
    edges = []
    for records in groups.values():
        unique = sorted(set(records))
        if len(unique) < 2 or (most is not None and len(unique) > most):
            continue
        # All pairs where they are few, so that one vetoed pair does not part the others.
        pairs = combinations(unique, 2) if len(unique) <= _MOST_IN_FULL else pairwise(unique)
        edges += [Edge(strength, left, right, rule) for left, right in pairs]
    return edges


def _group(rows: Iterable[Row], value: Callable[[Row], Any]) -> dict[Any, list[str]]:
    groups: dict[Any, list[str]] = defaultdict(list)
    for row in rows:
        key = value(row)
        if key is not None and not (isinstance(key, tuple) and None in key):
            groups[key].append(row["record_id"])
    return groups


def customer_edges(rows: Sequence[Row]) -> list[Edge]:
    """Evidence among customer records (columns of `int_customer_records`)."""
    people = _People(rows)
    number, named, tail = people.phone, people.key, people.phone_tail

    def both(one: Values, other: Values) -> dict[Any, list[str]]:
        return _group(rows, lambda row: (one[row["record_id"]], other[row["record_id"]]))

    edges = _merged(rows) + _own_identifiers(rows, people)
    edges += _chain(both(number, named), "phone+name", 3)
    edges += _chain(both(number, people.person), "phone+name", 3)
    edges += _chain(both(tail, people.person), "phone+name", 3)
    group = _components(edges)
    for phones in (number, tail):
        alike = _group(rows, lambda row, phones=phones: phones[row["record_id"]])  # type: ignore[misc]
        edges += _alike(alike, people, group, "phone+similar name", 3)
    edges += _other_script(
        _group(rows, lambda row: number[row["record_id"]]), people, "phone+other script", 3
    )
    edges += _at_one_address(rows, people, _components(edges))
    return edges


def _merged(rows: Iterable[Row]) -> list[Edge]:
    """Records that their own system merged: it knew who they were."""
    pairs = [(row["record_id"], row["merged_into"]) for row in rows if row.get("merged_into")]
    return [Edge(1, min(pair), max(pair), "merged at source") for pair in pairs]


Values = Mapping[str, str | None]


def _own_identifiers(rows: Sequence[Row], people: _People) -> list[Edge]:
    """Evidence by what belongs to one customer alone: numbers, accounts, a mailbox."""
    mailbox = people.mailbox

    def buyer(row: Row) -> tuple[str, str] | None:
        text = normalise.code(row["marketplace_buyer_id"])
        return None if text is None else (row["source_system"], text)

    def both(one: Values, other: Values) -> dict[Any, list[str]]:
        return _group(rows, lambda row: (one[row["record_id"]], other[row["record_id"]]))

    edges = _chain(_group(rows, lambda row: people.tax[row["record_id"]]), "tax_number", 1)
    edges += _chain(_group(rows, buyer), "marketplace_buyer_id", 1)
    edges += _accounts(rows, people)
    edges += _chain(both(mailbox, people.phone), "email+phone", 2)
    edges += _chain(both(mailbox, people.key), "email+name", 2)
    boxes = {record: box for record, box in mailbox.items() if box is not None}
    slipped = _without_slips(boxes, letters=True)
    mistyped = {slipped[record] for record, box in boxes.items() if slipped[record] != box}

    def meant(row: Row) -> tuple[str | None, str | None]:
        box = slipped.get(row["record_id"])
        return box if box in mistyped else None, people.key[row["record_id"]]

    edges += _chain(_group(rows, meant), "similar email+name", 3)
    return edges + _one_mailbox(_group(rows, lambda row: mailbox[row["record_id"]]), people)


def _components(edges: Iterable[Edge]) -> dict[str, str]:
    """Record id -> one record of all that the edges connect; records without edges are not in it."""
    root: dict[str, str] = {}

    def find(record: str) -> str:
        while root.setdefault(record, record) != record:
            root[record] = root[root[record]]
            record = root[record]
        return record

    for edge in edges:
        left, right = find(edge.left), find(edge.right)
        root[max(left, right)] = min(left, right)
    return {record: find(record) for record in list(root)}


def _namesakes(rows: Sequence[Row], evidence: Iterable[Edge]) -> dict[str, str]:
    """Customers of one name at one address or phone whom the systems themselves keep apart: father and son.

    Two groups of records, each held together by a mailbox of its own, are two people where enough speaks for it: their
    mailboxes differ, and so do their phones, or several systems that hardly ever enter anybody twice have both, or those
    who are known to be one hardly ever have two.

    Args:
        rows: of `int_customer_records`.
        evidence: exact evidence among them.

    Returns:
        Record id -> its group, for the groups that must stay apart.
    """
    people = _People(rows)
    proven = [edge for edge in evidence if edge.rule in _NOT_BY_NAME]
    group = _components([*_own_identifiers(rows, people), *proven])
    for record, mailbox in people.mailbox.items():
        if mailbox is not None:
            group.setdefault(record, record)
    # A phone that one group alone has says whose record this is that names no mailbox.
    with_phone: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record, found in group.items():
        phone, form = people.phone[record], people.form[record]
        if phone is not None and form is not None:
            with_phone[phone, form].add(found)
    members: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        record = row["record_id"]
        if record not in group:
            holders = with_phone.get((people.phone[record] or "", people.form[record] or ""), set())
            if len(holders) != 1:
                continue
            group[record] = next(iter(holders))
        members[group[record]].append(record)
    # A delivery address below an account is no second entry, and firms and their contacts are two lists.
    system = {row["record_id"]: stream(row["record_id"]) for row in rows if not row.get("parent_key")}
    entered: dict[str, list[int]] = defaultdict(list)
    for records in members.values():
        for name, count in Counter(system[record] for record in records if record in system).items():
            entered[name].append(count)
    # In a system that makes a record of every order, two records of one person are nothing unusual.
    registers = {
        name
        for name, counts in entered.items()
        if sum(count > 1 for count in counts) <= _MOST_ENTERED_TWICE * len(counts)
    }

    def values(of: Mapping[str, str | None], records: Sequence[str]) -> set[str]:
        return {value for record in records if (value := of.get(record)) is not None}

    together: dict[Any, set[str]] = defaultdict(set)
    at_one_door: dict[Any, list[str]] = defaultdict(list)
    for row in rows:
        record = row["record_id"]
        if record in group and people.form[record] is not None:
            for place in (people.postcode[record], people.phone[record]):
                if place is not None:
                    together[people.form[record], place].add(group[record])
            if None not in (people.postcode[record], people.house[record]):
                door = people.form[record], people.postcode[record], people.house[record]
                at_one_door[door].append(record)
    boxes = _without_slips(_lasting(people))
    known = _share_of_two(_groups_of(_components(proven)).values(), boxes)
    # Of those at one door who have two mailboxes, the share that one customer in so many has two accounts for.
    one = known / max(known, _share_of_two(at_one_door.values(), boxes))
    apart: set[str] = set()
    for groups in together.values():
        if len(groups) > _MOST_FORMS:
            continue
        for group_of_ours, group_of_theirs in combinations(sorted(groups), 2):
            ours, theirs = members[group_of_ours], members[group_of_theirs]
            mailboxes = values(boxes, ours), values(boxes, theirs)
            if not mailboxes[0] or not mailboxes[1] or mailboxes[0] & mailboxes[1]:
                continue
            if one <= _LEAST_ONE:
                apart |= {group_of_ours, group_of_theirs}
                continue
            phones = values(people.phone, ours), values(people.phone, theirs)
            weight = 1 + bool(phones[0] and phones[1] and not phones[0] & phones[1])
            weight += len(
                {system.get(record) for record in ours} & {system.get(r) for r in theirs} & registers
            )
            if weight >= _TWO_PEOPLE:
                apart |= {group_of_ours, group_of_theirs}
    return {record: found for record, found in group.items() if found in apart}


def _groups_of(root: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for record, first in root.items():
        found[first].append(record)
    return found


def _lasting(people: _People) -> dict[str, str]:
    """Record -> mailbox, without those made up for one order: known to one record alone, and without a name in them."""
    known = Counter(people.mailbox.values())

    def is_named(box: str, name: str | None) -> bool:
        return any(len(word) > 2 and word in box for word in names.words(name))

    return {
        record: box
        for record, box in people.mailbox.items()
        if box is not None and (known[box] > 1 or is_named(box, people.named[record]))
    }


def _share_of_two(groups: Iterable[Sequence[str]], mailboxes: Mapping[str, str]) -> float:
    """Among records that something else than a mailbox puts together, the share with another mailbox than the rest."""
    pairs = two = 0
    for records in groups:
        found = [mailboxes[record] for record in records if record in mailboxes]
        pairs += max(len(found) - 1, 0)
        two += max(len(set(found)) - 1, 0)
    return (two + _TWO_MAILBOXES * _SEEN_BEFORE) / (pairs + _SEEN_BEFORE)


class _People:
    """What customer records say about who somebody is, in normal forms; every mapping is by record id."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.named: dict[str, str | None] = {}
        self.country: dict[str, str | None] = {}
        self.form: dict[str, str | None] = {}
        self.key: dict[str, str | None] = {}
        self.person: dict[str, str | None] = {}
        self.tax: dict[str, str | None] = {}
        self.mailbox: dict[str, str | None] = {}
        self.phone: dict[str, str | None] = {}
        self.phone_tail: dict[str, str | None] = {}
        self.postcode: dict[str, str | None] = {}
        self.house: dict[str, str | None] = {}
        for row in rows:
            record, country = row["record_id"], _country(row)
            self.country[record] = country
            self.named[record] = row["company_name"] or row["full_name"]
            self.form[record] = normalise.name(self.named[record])
            # A family's name with an initial is several people's: it counts only beside the names around it.
            self.key[record] = None if names.is_short(self.named[record] or "") else self.form[record]
            short = names.is_short(row["full_name"] or "")
            self.person[record] = None if short else normalise.name(row["full_name"])
            self.tax[record] = normalise.tax_number(row["tax_number"], country)
            self.mailbox[record] = normalise.email(row["email"])
            # What landed as E.164 was read with its own system's country then.
            number = row["phone_e164"] or normalise.phone(row["phone"], country)
            self.phone[record] = None if number is None or normalise.is_placeholder_phone(number) else number
            self.phone_tail[record] = normalise.phone_tail(row["phone"])
            where = address.read(row["street"], row.get("city"), row.get("region"), row["postcode"], country)
            self.postcode[record] = where.postcode
            self.house[record] = where.door

        self._forget_shared_mailboxes()

    def _forget_shared_mailboxes(self) -> None:
        """An address under more than three names that cannot be one person's is a shared mailbox, and nobody's."""
        at: dict[str, set[str]] = defaultdict(set)
        shared: set[str] = set()
        for record, mailbox in self.mailbox.items():
            named = self.named[record]
            if mailbox is not None and named is not None and self.form[record] is not None:
                at[mailbox].add(named)
        for mailbox, spelled in at.items():
            apart: list[str] = []
            for name in sorted(spelled) if len(spelled) > _MOST_NAMES_AT_MAILBOX else ():
                han = normalise.is_han(name)
                if not any(
                    names.compatible(name, other) or normalise.is_han(other) != han for other in apart
                ):
                    apart.append(name)
            if len(apart) > _MOST_NAMES_AT_MAILBOX:
                shared.add(mailbox)
        for record, mailbox in self.mailbox.items():
            if mailbox in shared:
                self.mailbox[record] = None


def _country(row: Row) -> str | None:
    """The country a record is of, as stated; Chinese signs with a postcode of six digits are China's."""
    stated: str | None = row["country"]
    if stated is None and normalise.is_han(row.get("city") or row["street"]):
        postcode = normalise.code(row["postcode"]) or ""
        return "CN" if len(postcode) == 6 and postcode.isdigit() else None
    return stated


def _accounts(rows: Sequence[Row], people: _People) -> list[Edge]:
    """A delivery address or contact is the customer it was entered under, unless many strangers are entered there."""
    kind = {row["record_id"]: row["customer_type"] for row in rows}
    children: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        if row.get("parent_key") in kind:
            children[row["parent_key"]].append(row["record_id"])
    edges = []
    for parent, records in children.items():
        strangers = {people.form[record] for record in records} - {None, people.form[parent]}
        if kind[parent] != "company" and len(strangers) > _MOST_NAMES_OF_ONE:
            continue  # a collective account, such as "web shop customers"
        edges += [Edge(1, min(parent, record), max(parent, record), "account") for record in records]
    return edges


def _forms(records: Iterable[str], people: _People) -> dict[str, tuple[str, list[str]]]:
    """Records by the key of their names, with one spelling each."""
    forms: dict[str, tuple[str, list[str]]] = {}
    for record in sorted(set(records)):
        key, spelled = people.form[record], people.named[record]
        if key is not None and spelled is not None:
            forms.setdefault(key, (spelled, []))[1].append(record)
    return forms


def _known_as_one(forms: Mapping[str, Sequence[str]], group: Mapping[str, str]) -> Callable[[str, str], bool]:
    """Whether stronger evidence has put two names in one group."""
    groups = {form: {group.get(record, record) for record in records} for form, records in forms.items()}
    return lambda one, other: not groups[one].isdisjoint(groups[other])


def _alike(
    groups: Mapping[Any, Sequence[str]],
    people: _People,
    known: Mapping[str, str],
    rule: str,
    strength: int,
) -> list[Edge]:
    """Edges between records of a group whose names can be one person's and nobody else's in the group.

    `known`: record -> what stronger evidence places it in.
    """
    edges = []
    for group, records in groups.items():
        if len(records) < 2:
            continue
        forms = dict(_forms(records, people).values())
        if len(forms) > _MOST_FORMS:
            continue
        pairs, doubtful = names.unambiguous(forms, _known_as_one(forms, known))
        edges += _between(pairs, forms, rule, strength)
        # A name with initials is no key by itself, but here it means one person.
        short = {
            (group, form): found
            for form, found in forms.items()
            if names.is_short(form) and form not in doubtful
        }
        edges += _chain(short, rule, strength)
    return edges


def _other_script(
    groups: Mapping[Any, Sequence[str]], people: _People, rule: str, strength: int
) -> list[Edge]:
    """Edges between one person's names in Japanese signs and in Latin letters, where nobody else is in the group.

    How Japanese signs are read cannot be told from them, so the two names say nothing for or against each other.
    """
    edges = []
    for records in groups.values():
        forms = dict(_forms(records, people).values())
        latin = [form for form in forms if not normalise.is_han(form)]
        signs = [form for form in forms if normalise.is_han(form)]
        if not latin or not signs or len(forms) > _MOST_FORMS:
            continue
        if {people.country[record] for found in forms.values() for record in found} - {None} != {"JP"}:
            continue
        sides = (latin, signs)
        if all(
            names.compatible(one, other) for side in sides for one, other in combinations(sorted(side), 2)
        ):
            edges += _between([(one, other) for one in latin for other in signs], forms, rule, strength)
    return edges


def _between(
    pairs: Iterable[tuple[str, str]], forms: Mapping[str, Sequence[str]], rule: str, strength: int
) -> list[Edge]:
    edges = []
    for one, other in pairs:
        ones, others = forms[one], forms[other]
        if len(ones) * len(others) > _MOST_IN_FULL**2:  # each is held together by its own name already
            ones, others = ones[:1], others[:1]
        edges += [
            Edge(strength, min(left, right), max(left, right), rule) for left in ones for right in others
        ]
    return edges


def _one_mailbox(groups: Mapping[Any, Sequence[str]], people: _People) -> list[Edge]:
    """Records of one e-mail address are one customer unless their names are several people's."""
    edges = []
    for mailbox, records in groups.items():
        unique = sorted(set(records))
        if not 1 < len(unique) <= _MOST_SHARERS * 4:
            continue
        forms = dict(_forms(unique, people).values())
        if len(forms) > _MOST_FORMS:
            continue
        if not names.lead_into_each_other(forms):
            edges += _between(names.unambiguous(forms)[0], forms, "email", 4)
        else:
            edges += _chain({mailbox: unique}, "email", 4)
    return edges


def _at_one_address(rows: Sequence[Row], people: _People, group: Mapping[str, str]) -> list[Edge]:
    """One name at one postcode and house, in whatever script, is one customer.

    Where a record has no house, the name must be rare enough: from how many others bear it, or one that could stand for
    it, less than one namesake in twenty is to be expected at this postcode. Records that name different houses count as
    one where stronger evidence (`group`) has joined them.
    """
    at: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        postcode = people.postcode[row["record_id"]]
        if postcode is not None and people.form[row["record_id"]] is not None:
            at[postcode].append(row["record_id"])
    at |= _in_sectors(at, people)
    bearers: dict[str, set[str]] = defaultdict(set)
    for record, form in people.form.items():
        if form is not None and record in group:
            for sign in (form, *_short_names(people.named[record])):
                bearers[sign].add(group[record])

    def is_rare(signs: Iterable[str], records: Iterable[str], neighbours: int) -> bool:
        here = {group.get(record, record) for record in records}
        elsewhere = min((len(bearers[sign] - here) for sign in signs), default=0)
        return elsewhere * neighbours <= _CHANCE * len(at)

    def is_one_house(records: Iterable[str]) -> bool:
        housed = [record for record in records if people.house[record] is not None]
        if len({people.house[record] for record in housed}) <= 1:
            return True
        return len({group.get(record, record) for record in housed}) == 1

    edges = []
    for records in at.values():
        forms = dict(_forms(records, people).values())
        pairs, doubtful = (
            names.unambiguous(forms, _known_as_one(forms, group))
            if len(forms) <= _MOST_FORMS
            else ([], set(forms))
        )
        for form, found in forms.items():
            if form in doubtful and names.is_short(form):
                continue
            houses: dict[str, list[str]] = defaultdict(list)
            for record in found:
                houses[people.house[record] or ""].append(record)
            homeless = houses.pop("", [])
            edges += _chain(houses, "name+address", 4)
            if homeless and is_one_house(found) and is_rare([people.form[found[0]] or ""], found, len(forms)):
                edges += _chain({form: found}, "name+postcode", 4)
        for one, other in pairs:
            shared, both = set(_short_names(one)) & set(_short_names(other)), [*forms[one], *forms[other]]
            if is_one_house(both) and is_rare(shared, both, len(forms)):
                edges += _between([(one, other)], forms, "similar name+address", 4)
    by_house = _group(rows, lambda row: (people.postcode[row["record_id"]], people.house[row["record_id"]]))
    return edges + _other_script(by_house, people, "address+other script", 4)


def _in_sectors(at: Mapping[str, Sequence[str]], people: _People) -> dict[str, list[str]]:
    """Records by postal sector, where a mistyped postcode tells no more than that: anybody there may be meant."""
    found: dict[str, list[str]] = defaultdict(list)
    mistyped = set()
    for postcode, records in at.items():
        for record in records:
            if (sector := address.sector(postcode, people.country[record])) is not None:
                found[sector].append(record)
                if not postcode[-2:].isalpha():
                    mistyped.add(sector)
    return {sector: found[sector] for sector in sorted(mistyped)}


@lru_cache(maxsize=1 << 17)
def _short_names(name: str | None) -> tuple[str, ...]:
    """A name as family and initial would have it, for each word that could be the family's."""
    words = names.words(name)
    return tuple(
        f"{word} {other[0]}"
        for place, word in enumerate(words)
        for position, other in enumerate(words)
        if place != position and len(word) > 1
    )


def buyer_edges(
    orders: Iterable[Row],
    order_ids: Mapping[str, str],
    customers: Sequence[Row],
    shared: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> list[Edge]:
    """Customer records that two systems name on one order are one customer, unless one stands for many.

    A collective account ("web shop customers") would chain everybody together: records that meet more than a few
    customers of one other system are left out. Whom a delivery goes to need not be who bought: its record counts only where
    the names are not plainly two people's. A buyer whom a marketplace names no more than by a number is whom all orders of
    that number are delivered to, unless those are several people.

    Args:
        orders: rows of `int_order_records`.
        order_ids: order record -> golden order.
        customers: rows of `int_customer_records`.
        shared: order record that stands for several orders, such as a parcel with two -> those.
    """
    system = {row["record_id"]: row["source_system"] for row in customers}
    named = {row["record_id"]: row["company_name"] or row["full_name"] for row in customers}
    buyers: dict[str, set[str]] = defaultdict(set)
    receivers: dict[str, set[str]] = defaultdict(set)
    for row in orders:
        record = row["record_id"]
        if row["customer_key"] in system:
            side = buyers if row["document_role"] == "order" else receivers
            for order_id in shared.get(record, [order_ids[record]] if record in order_ids else ()):
                side[order_id].add(row["customer_key"])
    number = {
        row["record_id"]: (row["source_system"], code)
        for row in customers
        if (code := normalise.code(row["marketplace_buyer_id"])) is not None
    }

    def someone(record: str) -> Any:
        """Who a record is as far as it says: a list of orders has one record of one person for each."""
        return normalise.name(named[record]) or number.get(record) or record

    partners: dict[str, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    delivered: dict[Any, set[str]] = defaultdict(set)
    for order_id, group in buyers.items():
        everybody = group | receivers[order_id]
        for left in everybody:
            for right in everybody - {left}:
                partners[left][system[right]].add(someone(right))
        for masked in group:
            if not named[masked]:
                delivered[someone(masked)] |= {
                    str(named[record]) for record in everybody - {masked} if named[record]
                }
    several = {
        who
        for who, found in delivered.items()
        if any(names.strangers(one, other) for one, other in combinations(sorted(found), 2))
    }
    collective = {
        record for record, met in partners.items() if any(len(others) > 4 for others in met.values())
    }
    edges = []
    for order_id, group in buyers.items():
        known = sorted(group - collective)
        receiving = sorted(receivers[order_id] - collective - group)
        for left, right in [*pairwise(known), *((left, right) for left in known for right in receiving)]:
            one, other = named[left], named[right]
            is_named = bool(one and other)
            # Of two namesakes the one on the same order is meant: names that fit count for more than one phone.
            if is_named and names.compatible(str(one), str(other)):
                strength = 2
            elif (
                (left in group and right in group)
                or (is_named and not names.strangers(str(one), str(other)))
                or (not one and other and someone(left) not in several)
            ):
                strength = 3
            else:
                continue
            edges.append(Edge(strength, min(left, right), max(left, right), "same_order"))
    return edges


def customer_veto(rows: Sequence[Row]) -> Callable[[str, str], str | None]:
    """Contradictions between two customer records that outweigh one shared weak identifier."""
    tax = {row["record_id"]: normalise.tax_number(row["tax_number"], _country(row)) for row in rows}
    kind = {row["record_id"]: row["customer_type"] for row in rows}

    def veto(left: str, right: str) -> str | None:
        one, other = tax[left], tax[right]
        if one and other and one != other and normalise.tax_scheme(one) == normalise.tax_scheme(other):
            return "their tax numbers differ"
        if kind[left] and kind[right] and kind[left] != kind[right]:
            return "one is a person, the other a company"
        return None

    return veto


def customer_groups(
    rows: Sequence[Row], evidence: Iterable[Edge], registers: Mapping[str, str]
) -> collective.Group:
    """What is known of customers beside their records, for scores between groups of them.

    Args:
        rows: of `int_customer_records`.
        evidence: exact evidence among them.
        registers: record -> list of customers it stands in.
    """
    people = _People(rows)
    mailboxes = _without_slips({record: box for record, box in people.mailbox.items() if box is not None})
    own = _components(_own_identifiers(rows, people))
    for record in mailboxes:
        own.setdefault(record, record)
    # Only what has a mailbox can be proven to be somebody else.
    placed = {own[record] for record in mailboxes}
    # What no mailbox brought together tells how many have two.
    both = {
        (edge.left, edge.right)
        for edge in evidence
        if edge.rule in _NOT_BY_MAILBOX and edge.left in mailboxes and edge.right in mailboxes
    }
    two = sum(mailboxes[left] != mailboxes[right] for left, right in both)
    share = (two + _TWO_MAILBOXES * _SEEN_BEFORE) / (len(both) + _SEEN_BEFORE)
    return collective.Group(
        own={record: group for record, group in own.items() if group in placed},
        mailboxes=mailboxes,
        registers=registers,
        two_mailboxes=min(math.log2(share), -1.0),
    )


def _without_slips(mailboxes: Mapping[str, str], *, letters: bool = False) -> dict[str, str]:
    """Record -> mailbox, where such as differ by one slip of the fingers are one; with `letters`, a slip in letters: by their
    numbers mailboxes of namesakes are told apart."""

    def digits(box: str) -> str:
        return "".join(filter(str.isdigit, box)) if letters else ""

    near: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for box in sorted(set(mailboxes.values())):
        name, _, domain = box.rpartition("@")
        near["name", name, ""].add(box)
        # One slip leaves one half of the name as it is; a sign too many or too few moves the middle.
        for middle in {len(name) // 2 - 1, (len(name) + 1) // 2 - 1}:
            if middle >= _SHORTEST_HALF:
                near["head", name[:middle], domain].add(box)
                near["tail", name[-middle:], domain].add(box)
    edges = [
        Edge(0, one, other, "slip")
        for boxes in near.values()
        if 1 < len(boxes) <= _MOST_IN_FULL
        for one, other in combinations(sorted(boxes), 2)
        if digits(one) == digits(other) and OSA.distance(one, other, score_cutoff=1) <= 1
    ]
    root = _components(edges)
    return {record: root.get(box, box) for record, box in mailboxes.items()}


def sku_edges(rows: Sequence[Row]) -> list[Edge]:
    """Evidence among SKU records (columns of `int_sku_records`)."""

    def part(row: Row) -> tuple[str | None, str | None]:
        return normalise.code(row["brand"]), normalise.code(row["mpn"])

    def maker(row: Row) -> str | None:
        # Where one system calls the maker's part number what another calls its item code.
        return normalise.sku_code(row["mpn"]) or normalise.sku_code(row["sku_code"])

    edges = _chain(_group(rows, lambda row: normalise.gtin(row["gtin14"], row["sku_code"])), "gtin", 1)
    edges += _chain(_group(rows, part), "brand+mpn", 2)
    edges += _chain(_group(rows, lambda row: normalise.sku_code(row["sku_code"])), "sku_code", 3)
    edges += _chain(_group(rows, maker), "sku_code", 3)
    edges += _chain(_group(rows, lambda row: normalise.title(row["title"])), "title", 4)
    return edges


def sku_veto(rows: Sequence[Row]) -> Callable[[str, str], str | None]:
    """Two valid GTINs that differ, or two sizes that differ, name two articles, whatever other code they share."""
    gtin = {row["record_id"]: normalise.gtin(row["gtin14"], row["sku_code"]) for row in rows}
    declared = {row["record_id"]: (row["size_qty"], row["size_uom"], row["pack_qty"]) for row in rows}
    titled = {row["record_id"]: normalise.size(row["title"]) for row in rows}

    def veto(left: str, right: str) -> str | None:
        if gtin[left] and gtin[right] and gtin[left] != gtin[right]:
            return "their GTINs differ"
        if None not in declared[left] and None not in declared[right] and declared[left] != declared[right]:
            return "their sizes differ"
        if titled[left] and titled[right] and titled[left] != titled[right]:
            return "the sizes in their titles differ"
        return None

    return veto


def location_edges(rows: Sequence[Row]) -> list[Edge]:
    """Evidence among location records (columns of `int_location_records`); see `places`."""
    return places.edges(rows)


def location_veto(rows: Sequence[Row]) -> Callable[[str, str], str | None]:
    """What keeps two location records apart; see `places`."""
    return places.veto(rows)


def agreements(entity: str, rows: Sequence[Row], evidence: Iterable[Edge] = ()) -> dict[str, dict[str, str]]:
    """Identifiers of which one golden record can have only one value: name -> record id -> value.

    `evidence`: exact evidence among the rows, which tells whether customers have more than one mailbox here.
    """
    if entity == "customer":
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for row in rows:
            number = normalise.tax_number(row["tax_number"], _country(row))
            if number is not None:
                found[f"tax number ({normalise.tax_scheme(number)})"][row["record_id"]] = number
        found["e-mail account"] = _namesakes(rows, evidence)
        return found
    if entity == "location":
        return places.agreements(rows)
    read: dict[str, tuple[str, Callable[[Row], str | None]]] = {
        "sku": ("GTIN", lambda row: normalise.gtin(row["gtin14"], row["sku_code"])),
    }
    if entity not in read:
        return {}
    name, value_of = read[entity]
    return {name: {row["record_id"]: value for row in rows if (value := value_of(row)) is not None}}
