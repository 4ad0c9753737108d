"""The secrets the sandbox accepts: derived from the seed, valid for nothing else."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

_TOKENS = ("access", "access_token", "key", "link", "session", "token")


@lru_cache(maxsize=16)
def rsa_keys(seed: int) -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    """A company's key and its vendor's, made once per process: they are valid for nothing else."""
    return rsa.generate_private_key(65537, 2048), rsa.generate_private_key(65537, 2048)


def rsa2(text: str, key: rsa.RSAPrivateKey) -> str:
    """Sign as Alipay does; written apart from what verifies it."""
    return base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


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
