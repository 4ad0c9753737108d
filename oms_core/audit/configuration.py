"""What the hub ran with, logged whenever it differs from the last time: code, rules, seeds, sources, variables set.

Values of variables are never logged, since some are secrets and a hash of a short secret tells it; their names are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rfc8785
from sqlalchemy import Connection, insert, select

from oms_core.audit import log
from oms_core.store.tables import configurations

_READ = (".sql", ".yml", ".csv")


def project_digests(project: Path) -> dict[str, Any]:
    """SHA-256 of a dbt project: each seed on its own, and models, macros and tests together.

    Args:
        project: the folder that holds `dbt_project.yml`.
    """
    seeds, rest = {}, hashlib.sha256()
    for path in sorted(project.rglob("*")):
        inside = path.relative_to(project)
        if path.suffix not in _READ or "target" in inside.parts or not path.is_file():
            continue
        content = path.read_bytes()
        if inside.parts[0] == "seeds" and path.suffix == ".csv":
            seeds[path.stem] = hashlib.sha256(content).hexdigest()
        else:
            rest.update(str(inside).encode() + b"\0" + hashlib.sha256(content).digest())
    return {"models_sha256": rest.hexdigest(), "seeds_sha256": seeds}


def note(connection: Connection, actor: str, configuration: Mapping[str, Any]) -> bool:
    """Log a configuration unless it is the one noted last.

    Args:
        connection: a writing transaction.
        actor: who runs with it.
        configuration: JSON values; no secret and no hash of one.

    Returns:
        Whether it was new.
    """
    fingerprint = hashlib.sha256(rfc8785.dumps(dict(configuration))).hexdigest()
    newest = select(configurations.c.fingerprint).order_by(configurations.c.noted_at.desc()).limit(1)
    if connection.execute(newest).scalar() == fingerprint:
        return False
    connection.execute(insert(configurations).values(fingerprint=fingerprint))
    log.append(
        connection,
        [log.Happening("configuration.changed", actor, f"configuration/{fingerprint[:12]}", configuration)],
    )
    return True
