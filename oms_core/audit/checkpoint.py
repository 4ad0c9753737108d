"""Signed checkpoints of the audit log: how long it was and what its root was, kept outside the database.

A checkpoint is a C2SP tlog-checkpoint: three lines (origin, size, root in base64), an empty line, and an Ed25519
signature line of a signed note. Whoever holds one can tell whether a log of today still begins with that log.

Sources: C2SP tlog-checkpoint and signed-note, version 1.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from oms_core.audit.log import AuditError

_ED25519 = b"\x01"  # algorithm byte of signed notes
_LONGEST = 10_000  # bytes; a checkpoint has some 250


@dataclass(frozen=True)
class Checkpoint:
    """The log `origin` had `size` entries and this root."""

    origin: str
    size: int
    root: bytes

    @property
    def body(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True)
class Verifier:
    """A public key under the name it signs with."""

    name: str
    key: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that mark this key's signatures."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.key).digest()[:4]

    def spelled(self) -> str:
        """`name+id+key`, the form in which verifier keys are handed on."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.key).decode()}"

    @classmethod
    def read(cls, spelled: str) -> Verifier:
        """Take a verifier key as `spelled` gives it.

        Raises:
            AuditError: it is none.
        """
        try:
            name, key_id, key = spelled.strip().split("+", 2)
            found = cls(name, base64.b64decode(key, validate=True)[1:])
            if len(found.key) != 32 or found.key_id.hex() != key_id:
                raise ValueError("the key's mark does not fit")
        except (ValueError, NotBase64) as error:
            raise AuditError(f"{spelled.strip()!r} is no verifier key (name+mark+base64): {error}") from error
        return found


class Signer:
    """The private key that signs checkpoints; created on first use, readable by its owner only."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        """Sign as `name`."""
        self._key = key
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verifier = Verifier(name, public)

    @classmethod
    def open(cls, path: Path, name: str) -> Signer:
        """Read the key, or make one where there is none.

        Raises:
            AuditError: the file is no Ed25519 key, or others may read it.
        """
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = Ed25519PrivateKey.generate()
            content = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                return cls.open(path, name)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            return cls(name, made)
        if path.stat().st_mode & 0o077:
            raise AuditError(f"others may read the signing key {path}: chmod 600 it, and consider it known")
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except ValueError as error:
            raise AuditError(f"{path} is no private key in PEM: {error}") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise AuditError(f"{path} is no Ed25519 key")
        return cls(name, key)

    def sign(self, checkpoint: Checkpoint) -> bytes:
        """The checkpoint as a signed note."""
        signature = base64.b64encode(self.verifier.key_id + self._key.sign(checkpoint.body.encode())).decode()
        return f"{checkpoint.body}\n— {self.verifier.name} {signature}\n".encode()


def opened(note: bytes, verifier: Verifier, called: str) -> Checkpoint:
    """A checkpoint whose signature is good.

    Args:
        note: the signed note.
        verifier: the key that must have signed it.
        called: how errors name it.

    Raises:
        AuditError: it is malformed, or not signed with this key.
    """
    try:
        if len(note) > _LONGEST:
            raise ValueError(f"it has over {_LONGEST:,} bytes")
        body, signatures = note.decode().split("\n\n", 1)
        body += "\n"
        name, size, root = body.split("\n")[:3]
        if not size.isdigit() or str(int(size)) != size:
            raise ValueError(f"{size!r} is no size")
        found = Checkpoint(name, int(size), base64.b64decode(root, validate=True))
        lines = [line.split(" ") for line in signatures.splitlines()]
        ours = [
            base64.b64decode(line[2], validate=True)
            for line in lines
            if len(line) == 3 and line[0] == "—" and line[1] == verifier.name
        ]
    except (ValueError, NotBase64) as error:
        raise AuditError(f"{called} is no signed checkpoint: {error}") from error
    public = Ed25519PublicKey.from_public_bytes(verifier.key)
    for signature in ours:
        if signature[:4] != verifier.key_id:
            continue
        try:
            public.verify(signature[4:], body.encode())
        except InvalidSignature:
            continue
        return found
    raise AuditError(f"{called} is not signed with the key {verifier.name}+{verifier.key_id.hex()}")


def write(folder: Path, note: bytes, size: int) -> Path:
    """Put a signed checkpoint into its folder, whole or not at all; one that is there already stays as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{size:012d}.checkpoint"
    if target.exists():
        return target
    temporary = folder / f".{target.name}.{secrets.token_hex(4)}"
    with temporary.open("xb") as file:
        file.write(note)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, target)  # unlike a rename, never over another's
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return target


def stored(folder: Path) -> Mapping[Path, bytes]:
    """The checkpoints of a folder, by the size their names say."""
    return {path: path.read_bytes() for path in sorted(folder.glob("*.checkpoint"))}
