"""One GX context for all tests of the gates: importing GX takes seconds."""

from __future__ import annotations

import pytest

from expectations.context import GateContext


@pytest.fixture(scope="session")
def gate(tmp_path_factory: pytest.TempPathFactory) -> GateContext:
    """A context whose data docs go to a folder of this session."""
    return GateContext(tmp_path_factory.mktemp("gate") / "data_docs")
