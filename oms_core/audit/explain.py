"""From a released value back to the bytes it came from: value ← rule ← record ← page. Orders, customers, SKUs, locations."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from oms_core.store.errors import NotReleasedError
from oms_core.store.postgres import Database
from oms_core.store.released import CUSTOMER, LOCATION, ORDER, SKU, Entity, Released

_EXCERPT = 240  # characters shown on each side of the place
_NOT_ATTRIBUTES = ("row_hash", "release_id")
_BY_PREFIX = {"CUS-": CUSTOMER, "SKU-": SKU, "LOC-": LOCATION}


@dataclass(frozen=True)
class Page:
    """A page of the raw archive, read again.

    Attributes:
        recomputed_sha256: of the bytes as they are now; None when they could not be read.
        is_intact: the recomputed hash is the one that was released.
        byte_count: length of the page.
        excerpt: text around the record, or a word on what kind of bytes these are.
        fault: why the page could not be read, in the reader's words.
    """

    recomputed_sha256: str | None
    is_intact: bool
    byte_count: int
    excerpt: str
    fault: str | None = None


@dataclass(frozen=True)
class Origin:
    """One record that a value came from.

    Attributes:
        rule: the survivorship rule that chose it, or the sum it is a part of.
        rule_version: "shipped", or the number of the rule a steward set; None where the table does not keep it.
        is_contested: trusted sources tell other values; a steward is asked. None where the table does not keep it.
        row_index: 0-based place of the record in its page.
    """

    rule: str
    source_system: str
    stream: str
    record_key: str
    batch_id: str
    page_sha256: str
    row_index: int
    page: Page
    rule_version: str | None = None
    is_contested: bool | None = None


@dataclass(frozen=True)
class ExplainedValue:
    """One attribute. Without origins the value is null, or derived from other attributes."""

    attribute: str
    value: Any
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class Explanation:
    """Where the values of one released order, customer, SKU or location came from.

    Attributes:
        entity: order, customer, sku or location.
        table: the released table its row stands in.
        found_by: how the number asked for led to it ("id", "redirect", "order_number" …).
        row_hash: seal of its row, hexadecimal; a leaf of the table's Merkle tree.
        records: ids of all source records that are it.
    """

    entity: str
    table: str
    golden_id: str
    asked: str
    found_by: str
    release_id: int
    row_hash: str
    records: tuple[str, ...]
    values: tuple[ExplainedValue, ...]


def explain(
    database: Database,
    number: str,
    attribute: str | None = None,
    *,
    read_page: Callable[[str], bytes],
    as_of: int | None = None,
) -> Explanation:
    """Explain one attribute of something released, or all that have a value.

    Args:
        number: any number any system ever used for an order, or the golden id of a customer (CUS-…), SKU or location.
        attribute: a column of fct_orders or of the dimension.
        read_page: gives the bytes of an archived page by its SHA-256. Whatever it raises is shown as that page's fault,
            so that one lost page does not hide the others.
        as_of: release id; None is the current release.

    Raises:
        NotReleasedError: no such number, attribute or release.
        AmbiguousError: the number belongs to several orders.
    """
    entity = _BY_PREFIX.get(number[:4], ORDER)
    key = f"{entity.name}_id"
    with database.read(as_of) as connection:
        released = Released(connection)
        found = released.find(entity, number)
        row = released.rows(entity.table, {key: found.golden_id}, key)[0]
        attributes = [name for name in row if name not in (key, *_NOT_ATTRIBUTES)]
        if attribute is not None and attribute not in attributes:
            near = difflib.get_close_matches(attribute, attributes, 1)
            hint = f"did you mean {near[0]}?" if near else "`orderhub explain ORDER` lists them."
            raise NotReleasedError(f"{entity.table} has no attribute {attribute!r}: {hint}")
        evidence = _evidence(released, entity, found.golden_id, attribute)
        records = released.record_ids(entity, found.golden_id)
    assert released.release_id is not None
    pages = _Pages(read_page)
    values = [
        ExplainedValue(
            name,
            row[name],
            tuple(_origin(item, row[name], pages) for item in evidence if item["attribute"] == name),
        )
        for name in ([attribute] if attribute else attributes)
    ]
    return Explanation(
        entity=entity.name,
        table=entity.table,
        golden_id=found.golden_id,
        asked=number,
        found_by=found.found_by,
        release_id=released.release_id,
        row_hash=row["row_hash"],
        records=tuple(records),
        values=tuple(value for value in values if attribute or value.value is not None),
    )


def _evidence(
    released: Released, entity: Entity, golden_id: str, attribute: str | None
) -> list[dict[str, Any]]:
    only = {"attribute": attribute} if attribute else {}
    if entity is ORDER:
        order_by = "attribute, source_system, stream, record_key"
        return released.rows("order_attribute_provenance", {"order_id": golden_id, **only}, order_by)
    wanted = {"entity": entity.name, "golden_id": golden_id, **only}
    rows = released.rows("golden_attribute_provenance", wanted, "attribute")
    for row in rows:
        _, row["stream"], row["record_key"] = row["record_id"].split(":", 2)
    return rows


class _Pages:
    """Pages read so far: one order's values mostly come from few pages."""

    def __init__(self, read_page: Callable[[str], bytes]) -> None:
        self._read_page = read_page
        self._known: dict[str, tuple[Page, str | None]] = {}

    def show(self, sha256: str, near: tuple[str, ...]) -> Page:
        if sha256 not in self._known:
            self._known[sha256] = self._read(sha256)
        page, characters = self._known[sha256]
        return page if characters is None else replace(page, excerpt=_excerpt(characters, near))

    def _read(self, sha256: str) -> tuple[Page, str | None]:
        try:
            content = self._read_page(sha256)
        except Exception as error:  # whatever the reader raises is part of the answer
            return Page(None, False, 0, "", f"{type(error).__name__}: {error}"), None
        recomputed = hashlib.sha256(content).hexdigest()
        characters = _as_text(content)
        page = Page(recomputed, recomputed == sha256, len(content), "")
        if characters is None:
            page = replace(page, excerpt=f"binary, begins with {content[:8].hex(' ')}")
        return page, characters


def _as_text(content: bytes) -> str | None:
    try:
        characters = content.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in characters else characters


def _excerpt(characters: str, near: tuple[str, ...]) -> str:
    """The page around the first of `near` that stands in it; its beginning when none does."""
    at = next((place for word in near if word and (place := characters.find(word)) >= 0), 0)
    start, end = max(0, at - _EXCERPT), at + _EXCERPT
    return ("…" if start else "") + characters[start:end] + ("…" if end < len(characters) else "")


def _origin(item: Mapping[str, Any], value: Any, pages: _Pages) -> Origin:
    return Origin(
        rule=item["rule"],
        source_system=item["source_system"],
        stream=item["stream"],
        record_key=item["record_key"],
        batch_id=item["batch_id"],
        page_sha256=item["page_sha256"],
        row_index=item["row_index"],
        page=pages.show(item["page_sha256"], (item["record_key"], str(value))),
        rule_version=item.get("rule_version"),
        is_contested=item.get("is_contested"),
    )
