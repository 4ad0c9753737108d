"""From a value of a released order back to the bytes it came from: value ← rule ← record ← page."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from oms_core.store.errors import NotReleasedError
from oms_core.store.postgres import Database
from oms_core.store.released import ORDER, Released

_EXCERPT = 240  # characters shown on each side of the place
_NOT_ATTRIBUTES = ("order_id", "row_hash", "release_id")


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


@dataclass(frozen=True)
class ExplainedValue:
    """One attribute of the order. Without origins the value is null, or derived from other attributes."""

    attribute: str
    value: Any
    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class Explanation:
    """Where the values of one released order came from.

    Attributes:
        found_by: how the number asked for led to the order ("id", "redirect", "order_number" …).
        row_hash: seal of the order's row, hexadecimal; a leaf of the table's Merkle tree.
        records: ids of all source records that are this order.
    """

    order_id: str
    asked: str
    found_by: str
    release_id: int
    row_hash: str
    records: tuple[str, ...]
    values: tuple[ExplainedValue, ...]


def explain(
    database: Database,
    order: str,
    attribute: str | None = None,
    *,
    read_page: Callable[[str], bytes],
    as_of: int | None = None,
) -> Explanation:
    """Explain one attribute of a released order, or all that have a value.

    Args:
        order: any number any system ever used for the order.
        attribute: a column of fct_orders.
        read_page: gives the bytes of an archived page by its SHA-256. Whatever it raises is shown as that page's fault,
            so that one lost page does not hide the others.
        as_of: release id; None is the current release.

    Raises:
        NotReleasedError: no such order, attribute or release.
        AmbiguousError: the number belongs to several orders.
    """
    with database.read(as_of) as connection:
        released = Released(connection)
        found = released.find(ORDER, order)
        row = released.rows("fct_orders", {"order_id": found.golden_id}, "order_id")[0]
        attributes = [name for name in row if name not in _NOT_ATTRIBUTES]
        if attribute is not None and attribute not in attributes:
            near = difflib.get_close_matches(attribute, attributes, 1)
            hint = f"did you mean {near[0]}?" if near else "`orderhub explain ORDER` lists them."
            raise NotReleasedError(f"fct_orders has no attribute {attribute!r}: {hint}")
        wanted = {"order_id": found.golden_id, **({"attribute": attribute} if attribute else {})}
        order_by = "attribute, source_system, stream, record_key"
        evidence = released.rows("order_attribute_provenance", wanted, order_by)
        records = released.record_ids(ORDER, found.golden_id)
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
        order_id=found.golden_id,
        asked=order,
        found_by=found.found_by,
        release_id=released.release_id,
        row_hash=row["row_hash"],
        records=tuple(records),
        values=tuple(value for value in values if attribute or value.value is not None),
    )


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
    )
