"""What every test shares: no orderhub settings from outside, and no silent skip where CI is meant to have every part."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from schemathesis.pytest.plugin import SchemathesisFunction
from xdist.scheduler import LoadFileScheduling

# Whether a test passes must not hang on how busy the machine is.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ORDERHUB_"):
            monkeypatch.delenv(name)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that no process still works on one when the others are done.

    Raises:
        UsageError: two tests have one id.
    """
    for item in items:
        # Schemathesis names its operations in brackets, which pytest 9.2 leaves out of their ids.
        if isinstance(item, SchemathesisFunction) and item.parent is not None:
            item._id = item.parent.id.child(item.name)
    ids = Counter(item.nodeid for item in items)
    if twice := [name for name, count in ids.items() if count > 1]:
        raise pytest.UsageError(
            f"several tests of one id, of which pytest-xdist would run the first: {twice}"
        )
    long = {item.path for item in items if any(map(item.get_closest_marker, ("slow", "live")))}
    items.sort(key=lambda item: item.path not in long)


class _Together(LoadFileScheduling):
    """A file stays in one process, as do the files that look at one finished demonstration, which takes a minute to make."""

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return "demo" if scope.startswith("tests/oms_core/test_demo") else scope


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Distribute tests over processes (`pytest -n`)."""
    return _Together(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where CI=true, so a part is missing: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def make_home() -> Iterator[Callable[[str], Path]]:
    """Make homes for whole runs, outside pytest's own folder: every session closes that to other accounts, and the
    embedded PostgreSQL runs as one where the tests run as root."""
    made: list[Path] = []

    def one(name: str) -> Path:
        made.append(Path(tempfile.mkdtemp(prefix=f"orderhub-{name}-")))
        return made[-1]

    yield one
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def online_retail() -> Path:
    """A UK retailer's real transactions; skipped where the data is not beside the checkout."""
    path = SHARED / "data" / "online_retail_ii_2009_2010.parquet"
    if not path.is_file():
        pytest.skip(f"{path.name} is not beside the checkout")
    return path
