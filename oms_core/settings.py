"""Where things are: everything an orderhub process reads from its environment, in one place."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Places and addresses of one installation.

    `home` holds all state. `warehouse_url` is None for the DuckDB file in `home`, else a PostgreSQL URL.
    `values` is the environment secrets and source addresses are read from.
    """

    home: Path
    values: Mapping[str, str]
    warehouse_url: str | None = None

    @classmethod
    def from_environment(cls, home: Path | None = None, values: Mapping[str, str] | None = None) -> Settings:
        """Read ORDERHUB_HOME and ORDERHUB_WAREHOUSE_URL; `home` outranks the environment."""
        values = os.environ if values is None else values
        folder = home or Path(values.get("ORDERHUB_HOME") or ".orderhub")
        return cls(folder.expanduser().resolve(), values, values.get("ORDERHUB_WAREHOUSE_URL") or None)

    @property
    def landing(self) -> Path:
        """Landing folder."""
        return self.home / "landing"

    @property
    def inbox(self) -> Path:
        """Where exported files are dropped; ORDERHUB_FILE_DROP_INBOX overrides it."""
        named = self.values.get("ORDERHUB_FILE_DROP_INBOX")
        return Path(named).expanduser() if named else self.home / "inbox"

    @property
    def data_docs(self) -> Path:
        """Where great-expectations writes its pages."""
        return self.home / "data_docs"

    @property
    def checkpoints(self) -> Path:
        """Where signed checkpoints of the audit log are written; ORDERHUB_CHECKPOINTS, better on another machine."""
        named = self.values.get("ORDERHUB_CHECKPOINTS")
        return Path(named).expanduser() if named else self.home / "checkpoints"

    @property
    def signing_key(self) -> Path:
        """The private key that signs checkpoints; ORDERHUB_AUDIT_KEY."""
        named = self.values.get("ORDERHUB_AUDIT_KEY")
        return Path(named).expanduser() if named else self.home / "audit" / "signing.pem"

    @property
    def actor(self) -> str:
        """Who acts, for the audit log: ORDERHUB_ACTOR, else the account of this process."""
        try:
            account = getpass.getuser()
        except (KeyError, OSError):  # a container may run as a number without a name
            account = f"uid {os.getuid()}"
        return self.values.get("ORDERHUB_ACTOR") or account
