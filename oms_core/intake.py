"""The first step of the main job: pull what sources have, take what they notify, replay what waited in quarantine."""

from __future__ import annotations

import contextlib
import gc
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from connectors import quarantine, registry
from connectors.backfill import backfill
from connectors.bulk import pull_bulk
from connectors.declare import Source
from connectors.errors import ConnectorError
from connectors.extract import Progress, PullResult, pull_source, require_stream
from connectors.files import pull_feeds, pull_files
from connectors.follow import follow
from connectors.landing import Landing
from connectors.notification import Receiver
from connectors.tombstone import LARGEST_LOSS, note_returned
from connectors.webhook import Incoming
from oms_core.audit import log
from oms_core.builder import Builder
from oms_core.errors import CallError, PipelineError
from oms_core.settings import Settings
from oms_core.store.postgres import Database

if TYPE_CHECKING:
    # The web framework is imported by whoever serves.
    from oms_core.api.hooks import Hear, Heard, Said


def is_configured(source: Source, settings: Settings) -> bool:
    """Whether a source has what it needs: its secrets, its address where it asks for none, or files in its inbox."""
    if source.feeds:
        place = inbox_of(source, settings)
        return "://" in place or Path(place).is_dir()
    if source.exports:
        return settings.inbox.is_dir() and any(settings.inbox.iterdir())
    prefix = f"ORDERHUB_{source.name.upper()}_"
    if not source.auth.secrets:
        # Nobody is asked over the internet unless somebody wanted it.
        return bool(settings.values.get(prefix + "URL"))
    return all(settings.values.get(prefix + name) for name in source.auth.secrets)


def inbox_of(source: Source, settings: Settings) -> str:
    """Folder, or URL of one, that a source reads its files from; ORDERHUB_<SOURCE>_URL names it for a source with feeds."""
    if not source.feeds:
        return str(settings.inbox)
    named = settings.values.get(f"ORDERHUB_{source.name.upper()}_URL")
    return named or str(settings.inbox / source.name)


def choose_sources(settings: Settings, names: Sequence[str]) -> list[Source]:
    """Sources by name; without names, every one that is configured.

    Raises:
        PipelineError: a name is unknown, or nothing is configured.
    """
    known = registry.sources()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CallError(f"no source {', '.join(unknown)}; there are {', '.join(known)}")
    if names:
        return [known[name] for name in dict.fromkeys(names)]
    chosen = [source for source in known.values() if is_configured(source, settings)]
    if not chosen:
        raise PipelineError(
            f"no source is configured: set the secrets of one (orderhub sources list shows them), or put files into "
            f"{settings.inbox}"
        )
    return chosen


def drop(settings: Settings, path: Path) -> Path:
    """Put a copy of an exported file, or of a mapping, into the inbox.

    Raises:
        PipelineError: another file of that name is there already.
    """
    settings.inbox.mkdir(parents=True, exist_ok=True)
    target = settings.inbox / path.name
    if target.exists() and target.read_bytes() != path.read_bytes():
        raise PipelineError(f"{target} holds another file of that name; rename {path} or remove the old one")
    if not target.exists():
        shutil.copyfile(path, target)
    return target


def pull(
    settings: Settings,
    sources: Sequence[str] = (),
    *,
    streams: Sequence[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    full: bool = False,
    every: timedelta | None = None,
    parallel: int = 4,
    in_bulk: bool = False,
    notified: bool = False,
    sweeps: bool = False,
    largest_loss: float = LARGEST_LOSS,
    progress: Progress | None = None,
    builder: Builder | None = None,
) -> list[PullResult]:
    """Pull sources side by side, each source's streams one after another.

    Args:
        settings: where things are.
        sources: names; every configured one by default.
        streams: names of streams, of one source.
        since, until: aware UTC bounds of a back-fill.
        full: ignore cursors and read everything again.
        every: cut a back-fill into intervals of this length, each a batch of its own.
        parallel: intervals of one source at a time.
        in_bulk: read streams by their source's bulk operation, those that have one alone.
        notified: pull nothing but what notifications name; they are drained by any pull.
        sweeps: look for what was deleted at the sources.
        largest_loss: share of a stream's records that may be gone at once.
        progress: called after each page, from several threads.
        builder: started once rows come, at the first pull at once, so that dbt is ready when they have landed.

    Returns:
        One result per stream or file. What failed carries its error; the others went on.

    Raises:
        PipelineError: a name is unknown.
    """
    if every is not None and (since is None or until is None or since >= until or every <= timedelta(0)):
        raise CallError("a back-fill by intervals needs a span, --since before --until, and a length")
    chosen = choose_sources(settings, sources)
    if streams is not None:
        if len(chosen) != 1:
            raise CallError("streams can be named for one source at a time")
        try:
            require_stream(chosen[0], streams)
        except ConnectorError as error:
            raise CallError(str(error)) from error
    landing = Landing(settings.landing)
    landing.sweep()
    earlier = sources_with_rows(landing)
    expected = earlier | {source.name for source in chosen}
    if builder is not None and not earlier:
        builder.start(expected)

    def seen(source: str, stream: str, rows: int) -> None:
        if builder is not None and rows:
            builder.start(expected)
        if progress is not None:
            progress(source, stream, rows)

    def one(source: Source) -> list[PullResult]:
        if source.reads_files and (notified or in_bulk):
            return []
        if source.feeds:
            return pull_feeds(source, inbox_of(source, settings), landing, progress=seen, again=full)
        if source.exports:
            return pull_files(source, settings.inbox, landing, progress=seen, again=full)
        results: list[PullResult] = []
        if in_bulk:
            results = pull_bulk(
                source, landing, settings.values, streams=streams, since=since, until=until, progress=seen
            )
            results += note_returned(source, landing, results)
        elif every is not None and since is not None and until is not None:
            results = backfill(
                source,
                landing,
                settings.values,
                since,
                until,
                every,
                streams=streams,
                parallel=parallel,
                progress=seen,
            )
            results += note_returned(source, landing, results)
        elif not notified:
            results = pull_source(
                source,
                landing,
                settings.values,
                streams=streams,
                since=since,
                until=until,
                full=full,
                progress=seen,
            )
            results += note_returned(source, landing, results)
        return results + follow(
            source,
            landing,
            settings.values,
            sweeps=sweeps,
            streams=streams,
            largest_loss=largest_loss,
            progress=seen,
        )

    try:
        with (
            rare_collections(),
            ThreadPoolExecutor(max_workers=min(8, len(chosen)), thread_name_prefix="pull") as pool,
        ):
            return [result for results in pool.map(one, chosen) for result in results]
    finally:
        landing.close()


@contextlib.contextmanager
def receiving(settings: Settings) -> Iterator[Hear]:
    """What takes notifications of sources in; `pull` drains them."""
    from oms_core.api.hooks import Heard

    receiver = Receiver(Landing(settings.landing), registry.sources(), settings.values)

    def hear(source: str, said: Said) -> Heard:
        incoming = Incoming(said.headers, said.body, said.query, said.method)
        take = receiver.receive if said.method == "POST" else receiver.challenge
        receipt = take(source, incoming)
        return Heard(receipt.outcome, receipt.detail, receipt.reply)

    try:
        yield hear
    finally:
        receiver.close()


def sources_with_rows(landing: Landing) -> set[str]:
    """Names of the sources of which anything has landed so far."""
    return {count.source for count in landing.counts() if count.landed}


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Rows by the ten thousand hold no cycles, and the collector would look through all of them again and again."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def replay(
    settings: Settings, source: str, stream: str | None = None, *, dry_run: bool = False
) -> list[quarantine.Replay]:
    """Validate quarantined rows again and land those that pass; what landed stands in the audit log.

    Raises:
        FatalError: there is no such source.
    """
    declared = registry.source(source)
    with contextlib.closing(Landing(settings.landing)) as landing:
        rows = quarantine.list_rows(landing, source, stream)
        if dry_run or not rows:
            return quarantine.replay(landing, declared, rows, dry_run=dry_run)
        with Database.from_environment(settings.home, settings.values) as database:
            database.upgrade()
            results = quarantine.replay(landing, declared, rows)
            happenings = [
                log.Happening(
                    "quarantine.replayed",
                    settings.actor,
                    f"{item.source}.{item.stream}",
                    {"tried": item.tried, "landed": item.landed, "batch": item.batch_id},
                )
                for item in results
                if item.landed
            ]
            with database.begin() as connection:
                log.append(connection, happenings)
    return results
