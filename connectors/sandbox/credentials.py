"""The secrets the sandbox accepts: derived from the seed, valid for nothing else."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

_TOKENS = ("access", "access_token", "key", "link", "session", "token")


@dataclass(frozen=True)
class Credentials:
    """Secrets of one sandbox. Twins ask for them by name and tell them to connectors in `Twin.env`.

    Without `tokens_are_known` those that expire or are revoked (`_TOKENS`) are others than were handed out.
    """

    seed: int
    tokens_are_known: bool = True

    def secret(self, system: str, name: str, length: int = 32) -> str:
        """Return `length` (at most 64) hexadecimal characters, always the same for (seed, system, name)."""
        if not 0 < length <= 64:
            raise ValueError(f"secret length {length} is not in 1..64")
        if name.lower() in _TOKENS and not self.tokens_are_known:
            name += ", the next one"
        key = f"orderhub-sandbox:{self.seed}".encode()
        return hmac.new(key, f"{system}:{name}".encode(), hashlib.sha256).hexdigest()[:length]

    def accepts(self, system: str, name: str, given: str | None, length: int = 32) -> bool:
        """Compare a presented secret in constant time."""
        return given is not None and hmac.compare_digest(
            self.secret(system, name, length).encode(), given.encode()
        )
