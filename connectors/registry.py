"""Every declared source, found by scanning `connectors.sources`."""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache

import connectors.sources
from connectors.declare import Source
from connectors.errors import DeclarationError, FatalError


@lru_cache(maxsize=1)
def sources() -> dict[str, Source]:
    """Sources by name, sorted.

    Raises:
        DeclarationError: a module has no SOURCE, or its name differs from the module's.
    """
    found = {}
    for item in sorted(pkgutil.iter_modules(connectors.sources.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"connectors.sources.{item.name}")
        declared = getattr(module, "SOURCE", None)
        if not isinstance(declared, Source) or declared.name != item.name:
            raise DeclarationError(
                f"connectors/sources/{item.name}.py must define SOURCE with name {item.name!r}"
            )
        found[declared.name] = declared
    return found


def source(name: str) -> Source:
    """One source by its name.

    Raises:
        FatalError: there is none; the message lists what there is.
    """
    known = sources()
    if name not in known:
        raise FatalError(f"no source {name!r}; there are {', '.join(known)}")
    return known[name]
