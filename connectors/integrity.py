"""Whether the landing is as it was: pages against their names, batches against what was said of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

import sqlalchemy as sa
import zstandard

from connectors.errors import FatalError
from connectors.landing import BATCHES, FILES, PAGES, Landing

_MOST_SHOWN = 50


def batch_digests(landing: Landing, batch_ids: Iterable[str]) -> dict[str, str | None]:
    """What each batch is, in one hash: its counts, the SHA-256 of its files as they lie there, the names of its pages.

    Returns:
        Batch id -> SHA-256 of its canonical JSON, in hexadecimal; None where the batch or a file of it is gone.
    """
    wanted = set(batch_ids)
    with landing.transaction() as connection:
        batches = {
            row.batch_id: {"batch_id": row.batch_id, "source": row.source, "stream": row.stream}
            for row in connection.execute(sa.select(BATCHES.c.batch_id, BATCHES.c.source, BATCHES.c.stream))
            if row.batch_id in wanted
        }
        files: dict[str, list[list[object]]] = {batch_id: [] for batch_id in batches}
        gone = set()
        for row in connection.execute(sa.select(FILES).order_by(FILES.c.batch_id, FILES.c.stream)):
            if row.batch_id not in batches:
                continue
            content = None
            if row.path is not None:
                path = landing.root / row.path
                if path.exists():
                    with path.open("rb") as file:
                        content = hashlib.file_digest(file, "sha256").hexdigest()
                else:
                    gone.add(row.batch_id)
            files[row.batch_id].append([row.stream, row.pulled, row.landed, content])
        pages: dict[str, list[str]] = {batch_id: [] for batch_id in batches}
        for row in connection.execute(sa.select(PAGES).order_by(PAGES.c.batch_id, PAGES.c.page_index)):
            if row.batch_id in batches:
                pages[row.batch_id].append(row.page_sha256)
    digests: dict[str, str | None] = dict.fromkeys(wanted)
    for batch_id, batch in batches.items():
        if batch_id not in gone:
            described = {**batch, "files": files[batch_id], "pages": pages[batch_id]}
            canonical = json.dumps(described, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            digests[batch_id] = hashlib.sha256(canonical.encode()).hexdigest()
    return digests


def faulty_pages(landing: Landing, erased: Mapping[str, str | None] | None = None) -> tuple[int, list[str]]:
    """Read every page that a batch names.

    Args:
        landing: where they lie.
        erased: name of a page a person was erased from -> SHA-256 of what should lie there since, None for nothing.

    Returns:
        The number of pages read, and a sentence for each one (of the first fifty) that is gone or was changed.
    """
    with landing.transaction() as connection:
        names: list[str] = list(
            connection.execute(
                sa.select(PAGES.c.page_sha256).distinct().order_by(PAGES.c.page_sha256)
            ).scalars()
        )
    faults = []
    known = erased or {}
    for name in names:
        try:
            if name in known:
                _check_erased(landing, name, known[name])
            else:
                landing.read_page(name)
        except FatalError as error:
            faults.append(str(error))
    more = [f"… and {len(faults) - _MOST_SHOWN:,} more pages"] if len(faults) > _MOST_SHOWN else []
    return len(names), faults[:_MOST_SHOWN] + more


def _check_erased(landing: Landing, name: str, expected: str | None) -> None:
    path = landing.page_path(name)
    if not path.exists():
        raise FatalError(f"page {name}, from which a person was erased, is not in the archive")
    try:
        content = zstandard.ZstdDecompressor().decompress(path.read_bytes())
    except zstandard.ZstdError as error:
        raise FatalError(f"page {name} was changed after a person was erased from it: {error}") from error
    now = hashlib.sha256(content).hexdigest() if content else None
    if now != expected:
        raise FatalError(f"page {name} was changed after a person was erased from it: its SHA-256 differs")
