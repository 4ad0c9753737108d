"""Exports that people drop into an inbox: the file feed's table of troubles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from connectors.file_conformance import FileConformance
from connectors.registry import source
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.files import write_exports
from connectors.sandbox.world import World


class TestFileDrop(FileConformance):
    source = source("file_drop")
    orders = 300
    spared: ClassVar[Mapping[str, str]] = {}

    @staticmethod
    def write(world: World, folder: Path) -> list[Path]:
        return write_exports(world, Dirt(7, "file_drop", "none"), folder)
