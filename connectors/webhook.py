"""What a vendor's notifications are: how they are signed, which streams they touch, where they name the record.

A declaration is data; what is here verifies and reads it. Nothing of a notification is believed but which record to ask
the source for.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pydantic import BaseModel, ConfigDict

from connectors.decode import decode_json
from connectors.errors import ForgedError, StaleError
from connectors.pagination import dig
from connectors.rsa import read_rsa_key, verify_rsa2

FIVE_MINUTES = timedelta(minutes=5)


@dataclass(frozen=True)
class Incoming:
    """A notification as it came: header names in lower case, the query decoded, the body's bytes as received."""

    headers: Mapping[str, str]
    body: bytes = b""
    query: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


class Signature(Protocol):
    """How a vendor shows that a notification is its own."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets it reads."""

    def open(self, incoming: Incoming, secrets: Mapping[str, str], now: datetime) -> bytes:
        """Give the message: the body, decrypted where the vendor encrypts it.

        Raises:
            ForgedError: the signature is missing or wrong.
            StaleError: it is too old.
        """

    def challenge(self, incoming: Incoming, secrets: Mapping[str, str]) -> str | None:
        """What answers the vendor's test of the address, or None where the vendor makes none.

        Raises:
            ForgedError: as for `open`.
        """


class _Unchallenged(BaseModel):
    model_config = ConfigDict(frozen=True)

    def challenge(self, incoming: Incoming, secrets: Mapping[str, str]) -> str | None:
        return None


# HubSpot signs its address with these signs decoded.
# Source: https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation
_DECODED = {"%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$", "%27": "'", "%28": "(", "%29": ")",
            "%2A": "*", "%2C": ",", "%3B": ";"}  # fmt: skip


class DigestSignature(_Unchallenged):
    """A digest of some parts of the request, in one header.

    Args:
        header: lower-case name of the header that carries it.
        parts: what is digested, in order: `body`, `method`, `header:<name>`, `secret:<NAME>`, `address` (the secret
            WEBHOOK_URL, as it is registered with the vendor: behind a proxy nobody else knows it) or `address:decoded`.
        key: name of the secret that keys an HMAC; None for a plain digest, of which a secret must be a part.
        digest: hashlib's name.
        encoding: how the digest is written.
        sent_at: header that says when it was sent, if it is signed along.
        clock: how that time is written.
        tolerance: older, or further ahead, is refused.
    """

    header: str
    parts: tuple[str, ...] = ("body",)
    key: str | None = "WEBHOOK_SECRET"
    digest: Literal["sha256", "md5"] = "sha256"
    encoding: Literal["base64", "hex"] = "base64"
    sent_at: str | None = None
    clock: Literal["milliseconds", "iso"] = "milliseconds"
    tolerance: timedelta = FIVE_MINUTES

    @property
    def secrets(self) -> tuple[str, ...]:
        named = [part.partition(":")[2] for part in self.parts if part.startswith("secret:")]
        address = ["WEBHOOK_URL"] if any(part.startswith("address") for part in self.parts) else []
        return tuple(dict.fromkeys([*([self.key] if self.key else []), *named, *address]))

    def open(self, incoming: Incoming, secrets: Mapping[str, str], now: datetime) -> bytes:
        given = _header(incoming, self.header)
        message = b"".join(self._part(part, incoming, secrets) for part in self.parts)
        if self.key is None:
            found = hashlib.new(self.digest, message, usedforsecurity=False).digest()
        else:
            found = hmac.new(secrets[self.key].encode(), message, self.digest).digest()
        _agree(given, base64.b64encode(found).decode() if self.encoding == "base64" else found.hex())
        if self.sent_at is not None:
            _fresh(_instant(_header(incoming, self.sent_at), self.clock), now, self.tolerance)
        return incoming.body

    def _part(self, part: str, incoming: Incoming, secrets: Mapping[str, str]) -> bytes:
        kind, _, name = part.partition(":")
        match kind:
            case "body":
                return incoming.body
            case "method":
                return incoming.method.encode()
            case "header":
                return _header(incoming, name).encode()
            case "address":
                address = secrets["WEBHOOK_URL"]
                for code, sign in _DECODED.items() if name == "decoded" else ():
                    address = address.replace(code, sign)
                return address.encode()
            case _:
                return secrets[name].encode()


class TimedSignature(_Unchallenged):
    """`t=<unix seconds>,v1=<hex>[,v1=<hex>]`: an HMAC over time, dot and body; several while a secret is changed.

    Source: https://docs.stripe.com/webhooks#verify-manually
    """

    header: str
    key: str = "WEBHOOK_SECRET"
    tolerance: timedelta = FIVE_MINUTES

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.key,)

    def open(self, incoming: Incoming, secrets: Mapping[str, str], now: datetime) -> bytes:
        pairs = [item.strip().partition("=") for item in _header(incoming, self.header).split(",")]
        times = [value for name, _, value in pairs if name == "t"]
        given = [value for name, _, value in pairs if name == "v1"]
        if len(times) != 1 or not given:
            raise ForgedError(f"header {self.header} is not t=…,v1=…")
        message = times[0].encode() + b"." + incoming.body
        wanted = hmac.new(secrets[self.key].encode(), message, "sha256").hexdigest()
        if not any(hmac.compare_digest(value.encode(), wanted.encode()) for value in given):
            raise ForgedError("the signature is not of this body with our secret")
        if not times[0].isascii() or not times[0].isdigit() or len(times[0]) > 11:
            raise ForgedError(f"header {self.header} tells no time")
        _fresh(datetime.fromtimestamp(int(times[0]), UTC), now, self.tolerance)
        return incoming.body


class TokenSignature(_Unchallenged):
    """No signature: the vendor sends a secret along. Whoever reads one notification can forge the next; use TLS."""

    header: str
    key: str = "WEBHOOK_SECRET"

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.key,)

    def open(self, incoming: Incoming, secrets: Mapping[str, str], now: datetime) -> bytes:
        _agree(_header(incoming, self.header), secrets[self.key])
        return incoming.body


class QuerySignature(_Unchallenged):
    """MD5, in hex, of our address's path, its query with some headers among it, sorted, and a secret.

    The body is not signed: whoever reads one notification can forge the next; use TLS.

    Args:
        header: lower-case name of the header that carries it.
        headers: those that are signed as parameters.
        key: name of the secret behind the query.
        app: name of the secret that the header `app_header` must hold.
    """

    header: str
    headers: tuple[str, ...]
    key: str
    app: str
    app_header: str

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.key, self.app, "WEBHOOK_URL")

    def open(self, incoming: Incoming, secrets: Mapping[str, str], now: datetime) -> bytes:
        _agree(_header(incoming, self.app_header), secrets[self.app])
        named = {**incoming.query, **{name: _header(incoming, name) for name in self.headers}}
        query = "&".join(f"{name}={named[name]}" for name in sorted(named))
        signed = f"{urllib.parse.urlsplit(secrets['WEBHOOK_URL']).path}?{query}{secrets[self.key]}".encode()
        _agree(_header(incoming, self.header), hashlib.md5(signed, usedforsecurity=False).hexdigest())
        return incoming.body


_GBK, _CHINESE = "gb18030", ("gbk", "gb2312", "gb18030")


class FormSignature(_Unchallenged):
    """RSA2 over the fields of a form, sorted, as `name=value` joined by `&`: all but `sign` and `sign_type`.

    Source: https://opendocs.alipay.com/common/02mse7
    """

    key: str = "PUBLIC_KEY"

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.key,)

    def open(self, incoming: Incoming, secrets: Mapping[str, str], now: datetime) -> bytes:
        form = read_form(incoming.body)
        encoding = _GBK if form.get("charset", "").lower() in _CHINESE else "utf-8"
        text = "&".join(f"{name}={form[name]}" for name in sorted(form) if name not in ("sign", "sign_type"))
        try:
            key = read_rsa_key(secrets[self.key], "public")
        except ValueError as error:
            raise ForgedError(f"{self.key} holds {error}, so that nothing can be verified") from error
        if form.get("sign_type") != "RSA2" or not verify_rsa2(text, form.get("sign", ""), key, encoding):
            raise ForgedError("the signature is not of this form with the vendor's key")
        return incoming.body


def read_form(body: bytes) -> dict[str, str]:
    """The fields of a form, in the charset that one of them may name."""
    fields = urllib.parse.parse_qs(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    raw = {name: values[0].encode("latin-1") for name, values in fields.items()}
    is_chinese = raw.get("charset", b"").decode("latin-1").lower() in _CHINESE
    try:
        return {name: value.decode(_GBK if is_chinese else "utf-8") for name, value in raw.items()}
    except UnicodeDecodeError as error:
        raise ForgedError("the form is not in the charset that it names") from error


def read_messages(body: bytes) -> list[Any]:
    """Pushed messages as several marketplaces write them: a list, each with its content as JSON text in `data`.

    Content that is no JSON stays text: a test of the address comes with nothing but the time in it.
    """
    found = decode_json(body)
    if not isinstance(found, list):
        raise ValueError("pushed messages are a list")
    for message in found:
        if isinstance(message, dict) and isinstance(message.get("data"), str):
            with contextlib.suppress(ValueError):
                message["data"] = decode_json(message["data"].encode())
    return found


class EncryptedSignature(BaseModel):
    """WeChat's secure mode: the message is encrypted for us, and the ciphertext signed with the query's time and nonce.

    SHA-1 over the sorted token, time, nonce and ciphertext; AES-256-CBC, whose vector is the key's first half; before the
    message stand 16 random bytes and its length, behind it the app's id.

    Source: https://developers.weixin.qq.com/doc/store/shop/API/basics/message_push.html
    """

    model_config = ConfigDict(frozen=True)
    token: str = "WEBHOOK_TOKEN"  # noqa: S105 - the name of a variable, not its value
    key: str = "WEBHOOK_KEY"
    app: str = "APPID"
    tolerance: timedelta = FIVE_MINUTES

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.token, self.key, self.app)

    def open(self, incoming: Incoming, secrets: Mapping[str, str], now: datetime) -> bytes:
        try:
            sealed = str(json.loads(incoming.body)["Encrypt"])
        except (ValueError, KeyError, TypeError) as error:
            raise ForgedError("the body holds no encrypted message") from error
        at, nonce = _param(incoming, "timestamp"), _param(incoming, "nonce")
        _agree(_param(incoming, "msg_signature"), _sorted_digest(secrets[self.token], at, nonce, sealed))
        if not at.isascii() or not at.isdigit() or len(at) > 11:
            raise ForgedError("the parameter timestamp tells no time")
        _fresh(datetime.fromtimestamp(int(at), UTC), now, self.tolerance)
        return self.decrypt(sealed, secrets)

    def decrypt(self, sealed: str, secrets: Mapping[str, str]) -> bytes:
        """The message inside a ciphertext.

        Raises:
            ForgedError: it is not for our key or our app.
        """
        try:
            key = base64.b64decode(secrets[self.key] + "=")
            reader = Cipher(algorithms.AES(key), modes.CBC(key[:16])).decryptor()
            plain = reader.update(base64.b64decode(sealed, validate=True)) + reader.finalize()
            plain = plain[: -plain[-1]]
            end = 20 + int.from_bytes(plain[16:20], "big")
        except (ValueError, binascii.Error, IndexError) as error:
            raise ForgedError("the message cannot be decrypted with our key") from error
        if not hmac.compare_digest(plain[end:], secrets[self.app].encode()):
            raise ForgedError("the message is for another app")
        return plain[20:end]

    def challenge(self, incoming: Incoming, secrets: Mapping[str, str]) -> str | None:
        at, nonce = _param(incoming, "timestamp"), _param(incoming, "nonce")
        _agree(_param(incoming, "signature"), _sorted_digest(secrets[self.token], at, nonce))
        return _param(incoming, "echostr")


def _sorted_digest(*values: str) -> str:
    return hashlib.sha1("".join(sorted(values)).encode(), usedforsecurity=False).hexdigest()


def _header(incoming: Incoming, name: str) -> str:
    value = incoming.headers.get(name)
    if not value:
        raise ForgedError(f"header {name} is missing")
    return value


def _param(incoming: Incoming, name: str) -> str:
    value = incoming.query.get(name)
    if not value:
        raise ForgedError(f"parameter {name} is missing")
    return value


def _agree(given: str, wanted: str) -> None:
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), wanted.encode()):
        raise ForgedError("the signature is not of this request with our secret")


def _instant(text: str, clock: str) -> datetime:
    try:
        if clock == "iso":
            at = datetime.fromisoformat(text)
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        return datetime.fromtimestamp(int(text) / 1000, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ForgedError(f"{text[:40]!r} is no time") from error


def _fresh(sent_at: datetime, now: datetime, tolerance: timedelta) -> None:
    if abs(now - sent_at) > tolerance:
        raise StaleError(
            f"it was sent {(now - sent_at).total_seconds():.0f} s ago by its own time; "
            f"{tolerance.total_seconds():.0f} s are allowed"
        )


class Notice(BaseModel):
    """What one kind of event is about.

    Args:
        topic: the vendor's name of it; `*` stands for anything. The first that fits counts.
        streams: what it touches. A stream that can be asked by key is asked for this record alone, another one for what
            changed since its cursor.
        when: dotted path of what the event must hold beside its topic.
        equals: what must stand there, as text; anything that is there by default.
        key: dotted path of the record's key in the event; empty where the event names none.
        prefix: put before that key to make it the stream's.
        is_deletion: the record is gone.
        merged_into: dotted path of the key that took its place, where `key` was merged away; `key` may be a list.
        primary: dotted path of the record that the others were merged into. It is gone like them where `merged_into` names
            another, and is what was kept where `merged_into` names none.
    """

    model_config = ConfigDict(frozen=True)
    topic: str
    streams: tuple[str, ...]
    when: str | None = None
    equals: str | None = None
    key: str = ""
    prefix: str = ""
    is_deletion: bool = False
    merged_into: str | None = None
    primary: str = ""

    def is_of(self, topic: str, item: dict[str, Any]) -> bool:
        """Whether it tells what an event is about."""
        if not fnmatchcase(topic, self.topic):
            return False
        found = dig(item, self.when) if self.when else True
        return bool(found) if self.equals is None else str(found) == self.equals


class Webhook(BaseModel):
    """The notifications of one source.

    Args:
        signature: how they are signed.
        topic: where the kind of event stands: `header:<name>`, or a dotted path in the event.
        notices: what each kind is about; other kinds are answered and forgotten.
        delivery: header, or dotted path in the message, of what names a delivery and stays the same when it is repeated;
            without it, the same bytes are the same delivery.
        events: dotted path of the list of events in a message; the message itself by default, a list or one event.
        decode: bytes of a message -> Python values.
        reply: body the vendor wants to read before it believes that the notification came.
        documentation: the vendor's page about signatures.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    signature: Any
    topic: str
    notices: tuple[Notice, ...]
    delivery: str | None = None
    events: str = ""
    decode: Callable[[bytes], Any] = decode_json
    reply: str = ""
    documentation: str = ""

    def delivery_of(self, message: bytes, headers: Mapping[str, str]) -> str | None:
        """What names this delivery, or None where the vendor names none.

        Raises:
            ValueError: it should be named, and is not.
        """
        if self.delivery is None:
            return None
        if self.delivery.startswith("header:"):
            named: Any = headers.get(self.delivery.removeprefix("header:"))
        else:
            decoded = self.decode(message)
            named = dig(decoded[0] if isinstance(decoded, list) and decoded else decoded, self.delivery)
        if not isinstance(named, str | int) or isinstance(named, bool) or not 0 < len(str(named)) <= 200:
            raise ValueError(f"nothing at {self.delivery!r} names the delivery")
        return str(named)

    def read(self, message: bytes, topic: str | None) -> list[Event]:
        """The events of a message that are declared.

        Args:
            message: as `Signature.open` gives it.
            topic: what the header says, where it stands there.

        Raises:
            ValueError: the message is not what the vendor documents.
        """
        decoded = self.decode(message)
        found = dig(decoded, self.events) if self.events else decoded
        events = []
        for item in found if isinstance(found, list) else [found]:
            if not isinstance(item, dict):
                raise ValueError(f"an event is no object but {type(item).__name__}")
            named = topic if self.topic.startswith("header:") else dig(item, self.topic)
            notice = next((one for one in self.notices if one.is_of(str(named), item)), None)
            if notice is not None:
                events.append(_event(notice, item))
        return events


@dataclass(frozen=True)
class Event:
    """One event: which records of which streams it is about, and whether they are gone."""

    notice: Notice
    keys: tuple[str, ...]
    merged_into: str | None


def _event(notice: Notice, item: dict[str, Any]) -> Event:
    named = dig(item, notice.key) if notice.key else []
    keys = named if isinstance(named, list) else [named]
    if notice.key and (not keys or any(isinstance(key, dict | bool) or key in (None, "") for key in keys)):
        raise ValueError(f"an event {notice.topic} names no record at {notice.key!r}")
    into = dig(item, notice.merged_into) if notice.merged_into else None
    primary = dig(item, notice.primary) if notice.primary else None
    if notice.merged_into:
        into = into or primary
        if into in (None, ""):
            raise ValueError(f"an event {notice.topic} does not say at {notice.merged_into!r} what was kept")
        keys = [key for key in dict.fromkeys([*keys, *([primary] if primary else [])]) if key != into]
    return Event(
        notice,
        tuple(f"{notice.prefix}{key}" for key in keys),
        None if into is None else f"{notice.prefix}{into}",
    )
