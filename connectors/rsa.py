"""RSA2, as Alipay calls SHA-256 with RSA (PKCS #1 v1.5): keys as they are handed out, signatures as base64."""

from __future__ import annotations

import base64
import binascii
from typing import Literal, overload

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa


@overload
def read_rsa_key(text: str, kind: Literal["private"]) -> rsa.RSAPrivateKey: ...
@overload
def read_rsa_key(text: str, kind: Literal["public"]) -> rsa.RSAPublicKey: ...
def read_rsa_key(text: str, kind: Literal["private", "public"]) -> rsa.RSAPrivateKey | rsa.RSAPublicKey:
    """Read a key: PEM, or the bare base64 of its DER that key tools write.

    Raises:
        ValueError: it is no RSA key of this kind.
    """
    try:
        is_pem = "-----BEGIN" in text
        content = text.encode() if is_pem else base64.b64decode(text, validate=True)
        key: object
        if kind == "private":
            read_private = (
                serialization.load_pem_private_key if is_pem else serialization.load_der_private_key
            )
            key = read_private(content, None)
        else:
            read_public = serialization.load_pem_public_key if is_pem else serialization.load_der_public_key
            key = read_public(content)
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm) as error:
        raise ValueError(f"no RSA {kind} key (PEM, or base64 of its DER)") from error
    if not isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey):
        raise ValueError("a key of another kind than RSA")
    return key


def sign_rsa2(text: str, key: rsa.RSAPrivateKey) -> str:
    """Sign the UTF-8 text."""
    return base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


def verify_rsa2(text: str, signature: str, key: rsa.RSAPublicKey, encoding: str = "utf-8") -> bool:
    """Whether a signature is that of the text."""
    try:
        key.verify(base64.b64decode(signature), text.encode(encoding), padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, binascii.Error, UnicodeEncodeError):
        return False
    return True
