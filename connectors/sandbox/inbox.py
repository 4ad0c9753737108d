"""What an inbox of the sandbox can be told to do wrong: to one of its files, or on the way to it.

It stands where `connectors.files` sees storages of fsspec: as an object that lists, tells of and reads files.
"""

from __future__ import annotations

import csv
import io
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connectors.sandbox.trouble import CLOCK_ERRORS, NEW_FIELD

Write = Callable[[Path], list[Path]]


class TroubledFolder:
    """A folder of files that one writer owns.

    Args:
        root: where it is; made when it is filled.
        write: writes every file there is by now, whole, and returns them.
    """

    def __init__(self, root: Path, write: Write) -> None:
        self.root, self.write = root, write
        self.happened: Counter[str] = Counter()
        self._reading = ""
        self._released = threading.Event()

    def fill(self) -> None:
        """Put every file there as it should be, and take away what is none of them; all trouble ends."""
        self._reading = ""
        self._released.set()
        for path in self.root.iterdir() if self.root.exists() else ():
            path.unlink()
        self.write(self.root)

    def misbehave(self, name: str) -> None:
        """Spoil what is there, or what is read next; tables are preferred, for they have no control counts."""
        paths = sorted(path for path in self.root.iterdir() if not path.name.startswith("."))
        path = max(paths, key=lambda item: (item.suffix == ".csv", item.stat().st_size))
        content = path.read_bytes()
        match name:
            case "half_file":
                for other in paths:
                    whole = other.read_bytes()
                    other.write_bytes(whole[: len(whole) // 2])
            case "duplicated_file":
                path.with_stem(f"{path.stem}_copy").write_bytes(content)
            case "renamed_file":
                path.rename(path.with_stem(f"{path.stem}_sent"))
            case "html":
                path.write_bytes(b"<!doctype html><html><body>Down for maintenance</body></html>")
            case "duplicated_rows" | "drift":
                if path.suffix != ".csv":
                    return
                lines = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
                if name == "drift":
                    lines = [[*lines[0], NEW_FIELD], *([*line, "new"] for line in lines[1:] if line)]
                else:
                    lines += lines[1:]
                text = io.StringIO(newline="")
                csv.writer(text).writerows(lines)
                path.write_text(text.getvalue(), encoding="utf-8", newline="")
            case "clock_ahead" | "clock_behind":
                for other in paths:
                    at = other.stat().st_mtime + CLOCK_ERRORS[name].total_seconds()
                    os.utime(other, (at, at))
            case _:
                self._reading = name
                self._released.clear()
                return
        self.happened[name] += 1

    def invalidate_cache(self) -> None:
        """Nothing is kept."""

    def ls(self, root: str, detail: bool = True) -> list[dict[str, Any]]:
        """What is there, as fsspec tells it."""
        return [self.info(str(path)) for path in sorted(Path(root).iterdir())]

    def info(self, place: str) -> dict[str, Any]:
        """What a storage knows of one file."""
        told = Path(place).stat()
        return {"name": place, "size": told.st_size, "type": "file", "mtime": told.st_mtime}

    def cat_file(self, place: str) -> bytes:
        """Read a file, or do what was told once."""
        trouble, self._reading = self._reading, ""
        path = Path(place)
        if trouble:
            self.happened[trouble] += 1
        match trouble:
            case "half_read":
                return path.read_bytes()[: path.stat().st_size // 2]
            case "changing_file":
                content = path.read_bytes()
                path.write_bytes(content[: len(content) // 2])
                return content
            case "renamed_meanwhile":
                path.rename(path.with_stem(f"{path.stem}_sent"))
            case "hang":
                self._released.wait()
            case "reset":
                raise ConnectionResetError("connection reset by peer")
            case "forbidden":
                raise PermissionError(13, "permission denied", place)
        return path.read_bytes()
