"""Signatures of notifications: the vendors' worked examples, and what must not pass."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from connectors import registry
from connectors.declare import (
    DigestSignature,
    EncryptedSignature,
    Notice,
    TimedSignature,
    TokenSignature,
    Webhook,
)
from connectors.errors import ForgedError, StaleError
from connectors.webhook import Incoming, Signature

NOW = datetime(2026, 11, 3, 8, 0, tzinfo=UTC)
BODY = '{"id":820982911946154508,"name":"#1001 – Zoë"}'.encode()
URL = "https://hub.example/hooks/x"


def _mac(key: str, *parts: bytes) -> bytes:
    return hmac.new(key.encode(), b"".join(parts), hashlib.sha256).digest()


def _b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _sealed(message: bytes, key: str, app: str) -> str:
    plain = os.urandom(16) + len(message).to_bytes(4, "big") + message + app.encode()
    fill = 32 - len(plain) % 32
    secret = base64.b64decode(key + "=")
    writer = Cipher(algorithms.AES(secret), modes.CBC(secret[:16])).encryptor()
    return _b64(writer.update(plain + bytes([fill]) * fill) + writer.finalize())


@dataclass(frozen=True)
class Case:
    """One vendor: the scheme as its source declares it, our secrets, and how the vendor signs at a time."""

    source: str
    secrets: dict[str, str]
    sign: Callable[[datetime], Incoming]
    is_timed: bool = False
    covers_body: bool = True

    @property
    def signature(self) -> Signature:
        webhook = registry.source(self.source).webhook
        assert webhook is not None
        found: Signature = webhook.signature
        return found


def _plain(header: str, value: str) -> Incoming:
    return Incoming({header: value}, BODY)


def _stripe(at: datetime) -> Incoming:
    t = str(int(at.timestamp()))
    old = hmac.new(b"another", BODY, hashlib.sha256).hexdigest()
    return _plain("stripe-signature", f"t={t},v1={old},v1={_mac('s', t.encode(), b'.', BODY).hex()},v0=00")


def _hubspot(at: datetime) -> Incoming:
    t = str(int(at.timestamp() * 1000))
    signed = _b64(_mac("s", b"POST", URL.encode(), BODY, t.encode()))
    return Incoming({"x-hubspot-signature-v3": signed, "x-hubspot-request-timestamp": t}, BODY)


def _zendesk(at: datetime) -> Incoming:
    t = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    signed = _b64(_mac("s", t.encode(), BODY))
    return Incoming({"x-zendesk-webhook-signature": signed, "x-zendesk-webhook-signature-timestamp": t}, BODY)


KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


def _wechat(at: datetime) -> Incoming:
    sealed = _sealed(b'{"Event":"x"}', KEY, "wx1")
    t, nonce = str(int(at.timestamp())), "1320562132"
    signed = hashlib.sha1("".join(sorted(["tok", t, nonce, sealed])).encode()).hexdigest()
    query = {"timestamp": t, "nonce": nonce, "msg_signature": signed, "signature": "not this one"}
    return Incoming({}, json.dumps({"ToUserName": "gh", "Encrypt": sealed}).encode(), query)


def _douyin(at: datetime) -> Incoming:
    digest = hashlib.md5(b"app" + BODY + b"s").hexdigest()
    return Incoming({"app-id": "app", "event-sign": digest}, BODY)


def _xiaohongshu(at: datetime) -> Incoming:
    t = str(int(at.timestamp()))
    signed = hashlib.md5(f"/hooks/x?a=1&app-key=app&timestamp={t}s".encode()).hexdigest()
    return Incoming({"app-key": "app", "timestamp": t, "sign": signed}, BODY, {"a": "1"})


ALIPAY = rsa.generate_private_key(65537, 2048)
PUBLIC = ALIPAY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def _alipay(at: datetime, charset: str = "utf-8") -> Incoming:
    form = {"charset": charset, "notify_id": "ac05", "subject": "面霜", "empty": "", "app_id": "2014"}
    text = "&".join(f"{name}={form[name]}" for name in sorted(form)).encode(charset)
    sign = _b64(ALIPAY.sign(text, padding.PKCS1v15(), hashes.SHA256()))
    return Incoming({}, urlencode({**form, "sign_type": "RSA2", "sign": sign}, encoding=charset).encode())


SECRET = {"WEBHOOK_SECRET": "s", "WEBHOOK_URL": URL}
CASES = [
    Case("shopify", SECRET, lambda at: _plain("x-shopify-hmac-sha256", _b64(_mac("s", BODY)))),
    Case("square", SECRET, lambda at: _plain("x-square-hmacsha256-signature", _b64(_mac("s", URL.encode(), BODY)))),
    Case("stripe", SECRET, _stripe, is_timed=True),
    Case("hubspot", SECRET, _hubspot, is_timed=True),
    Case("zendesk", SECRET, _zendesk, is_timed=True),
    Case("karrio", SECRET, lambda at: _plain("x-event-id", "s"), covers_body=False),
    Case("vendure", SECRET, lambda at: _plain("x-orderhub-signature", _mac("s", BODY).hex())),
    Case("lazada", {"APP_KEY": "app", "APP_SECRET": "s"},
         lambda at: _plain("authorization", _mac("s", b"app", BODY).hex())),
    Case("douyin", {"APP_KEY": "app", "APP_SECRET": "s"}, _douyin),
    Case("xiaohongshu", {"APP_ID": "app", "APP_SECRET": "s", "WEBHOOK_URL": URL}, _xiaohongshu, covers_body=False),
    Case("alipay", {"PUBLIC_KEY": PUBLIC.decode()}, _alipay),
    Case("wechat_shop", {"WEBHOOK_TOKEN": "tok", "WEBHOOK_KEY": KEY, "APPID": "wx1"}, _wechat, is_timed=True),
]  # fmt: skip
every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.source)


def test_every_source_that_sends_notifications_is_tried() -> None:
    sending = {name for name, source in registry.sources().items() if source.webhook is not None}
    assert sending == {case.source for case in CASES}


def test_every_other_source_says_why_none_is_taken_in() -> None:
    for source in registry.sources().values():
        assert bool(source.unheard) != (source.webhook is not None), source.name


@every
def test_what_the_vendor_signed_passes(case: Case) -> None:
    assert set(case.signature.secrets) <= set(case.secrets)
    message = case.signature.open(case.sign(NOW), case.secrets, NOW)
    assert message == (b'{"Event":"x"}' if case.source == "wechat_shop" else case.sign(NOW).body)


@pytest.mark.parametrize("case", [case for case in CASES if case.covers_body], ids=lambda case: case.source)
def test_a_changed_body_does_not(case: Case) -> None:
    signed = case.sign(NOW)
    middle = signed.body[30:34]
    for body in (b"", signed.body[:-1], signed.body.replace(middle, middle[::-1].swapcase(), 1)):
        with pytest.raises(ForgedError):
            case.signature.open(replace(signed, body=body), case.secrets, NOW)


@every
def test_without_a_signature_or_with_another_secret_nothing_passes(case: Case) -> None:
    signed = case.sign(NOW)
    unsigned = BODY if case.source == "alipay" else signed.body  # a form carries its signature
    with pytest.raises(ForgedError):
        case.signature.open(Incoming({}, unsigned), case.secrets, NOW)
    for name in case.signature.secrets:
        wrong = {**case.secrets, name: "x" + case.secrets[name][1:] if name == "WEBHOOK_KEY" else "x"}
        with pytest.raises(ForgedError):
            case.signature.open(signed, wrong, NOW)


@pytest.mark.parametrize("case", [case for case in CASES if case.is_timed], ids=lambda case: case.source)
def test_what_was_signed_too_long_ago_or_ahead_is_stale(case: Case) -> None:
    for late in (timedelta(minutes=5, seconds=1), timedelta(minutes=-6)):
        with pytest.raises(StaleError):
            case.signature.open(case.sign(NOW - late), case.secrets, NOW)
    case.signature.open(case.sign(NOW - timedelta(minutes=4, seconds=59)), case.secrets, NOW)


@pytest.mark.parametrize(
    "text", ["", "t=1", "v1=00", "t=x,v1=00", "t=99999999999999999999,v1=00", "t=1,t=2,v1=00"]
)
def test_a_broken_time_is_a_forgery(text: str) -> None:
    with pytest.raises(ForgedError):
        TimedSignature(header="stripe-signature").open(
            Incoming({"stripe-signature": text}, BODY), SECRET, NOW
        )


def test_a_signed_time_that_is_none_is_a_forgery() -> None:
    signature = CASES[3].signature
    for text in ("yesterday", "9" * 30):
        signed = _b64(_mac("s", b"POST", URL.encode(), BODY, text.encode()))
        headers = {"x-hubspot-signature-v3": signed, "x-hubspot-request-timestamp": text}
        with pytest.raises(ForgedError):
            signature.open(Incoming(headers, BODY), SECRET, NOW)


# Worked examples as the vendors publish them.


def test_square_s_example() -> None:
    """Source: https://developer.squareup.com/docs/webhooks/step3validate"""
    incoming = Incoming(
        {"x-square-hmacsha256-signature": "2kRE5qRU2tR+tBGlDwMEw2avJ7QM4ikPYD/PJ3bd9Og="},
        b'{"hello":"world"}',
    )
    secrets = {"WEBHOOK_SECRET": "asdf1234", "WEBHOOK_URL": "https://example.com/webhook"}
    assert CASES[1].signature.open(incoming, secrets, NOW) == b'{"hello":"world"}'


@pytest.mark.parametrize(
    ("sent_at", "expected"),
    [
        ("1693657560000", "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y="),
        ("1700000300000", "RnbPH7+UMKVkbV32P8bz450N4M56aPmcru1+D3kSDtw="),
    ],
)
def test_hubspot_s_examples(sent_at: str, expected: str) -> None:
    """Source: tests of HubSpot's own clients for Python and Ruby"""
    headers = {"x-hubspot-signature-v3": expected, "x-hubspot-request-timestamp": sent_at}
    secrets = {
        "WEBHOOK_SECRET": "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy",
        "WEBHOOK_URL": "https://www.example.com/webhook_uri",
    }
    now = datetime.fromtimestamp(int(sent_at) / 1000, UTC)
    CASES[3].signature.open(Incoming(headers, b"{'example_field':'example_value'}"), secrets, now)


def test_hubspot_signs_its_address_decoded() -> None:
    sent_at = str(int(NOW.timestamp() * 1000))
    signed = _b64(_mac("s", b"POST", b"https://hub.example/hooks/x?a=b:c&d=%20", BODY, sent_at.encode()))
    headers = {"x-hubspot-signature-v3": signed, "x-hubspot-request-timestamp": sent_at}
    secrets = {"WEBHOOK_SECRET": "s", "WEBHOOK_URL": "https://hub.example/hooks/x?a=b%3Ac&d=%20"}
    CASES[3].signature.open(Incoming(headers, BODY), secrets, NOW)


def test_xiaohongshu_s_example() -> None:
    """Source: https://school.xiaohongshu.com/en/open/quick-start/sign.html"""
    incoming = Incoming(
        {"app-key": "xhs", "timestamp": "1469902537", "sign": "72be6fad4dd0e5104dbdebbcdadb2a06"},
        BODY,
        {"status": "0", "page_no": "1", "page_size": "50"},
    )
    secrets = {
        "APP_ID": "xhs",
        "APP_SECRET": "9a539709cafc1efc9ef05838be468a28",
        "WEBHOOK_URL": "http://flssandbox.xiaohongshu.com/ark/open_api/v1/items",
    }
    webhook = registry.source("xiaohongshu").webhook
    assert webhook is not None
    assert webhook.signature.open(incoming, secrets, NOW) == BODY


def test_a_form_is_verified_in_its_own_charset() -> None:
    webhook = registry.source("alipay").webhook
    assert webhook is not None
    signed = _alipay(NOW, "gbk")
    secrets = {"PUBLIC_KEY": PUBLIC.decode()}
    assert webhook.decode(webhook.signature.open(signed, secrets, NOW))["subject"] == "面霜"
    for body in (signed.body.replace(b"gbk", b"utf-8"), signed.body.replace(b"RSA2", b"RSA")):
        with pytest.raises(ForgedError):
            webhook.signature.open(replace(signed, body=body), secrets, NOW)


def test_wechat_s_test_of_the_address() -> None:
    """Source: https://developers.weixin.qq.com/doc/store/shop/API/basics/message_push.html"""
    query = {
        "signature": "f464b24fc39322e44b38aa78f5edd27bd1441696",
        "echostr": "4375120948345356249",
        "timestamp": "1714036504",
        "nonce": "1514711492",
    }
    secrets = {"WEBHOOK_TOKEN": "AAAAA", "WEBHOOK_KEY": KEY, "APPID": "wx1"}
    signature = EncryptedSignature()
    assert signature.challenge(Incoming({}, query=query), secrets) == "4375120948345356249"
    with pytest.raises(ForgedError):
        signature.challenge(Incoming({}, query=query | {"nonce": "1"}), secrets)


def test_wechat_s_examples_of_encryption() -> None:
    """Source: the vendor's sample code for message encryption (Java), and its description of a platform's messages"""
    plain = EncryptedSignature().decrypt(
        "jn1L23DB+6ELqJ+6bruv21Y6MD7KeIfP82D6gU39rmkgczbWwt5+3bnyg5K55bgVtVzd832WzZGMhkP72vVOfg==",
        {"WEBHOOK_KEY": KEY, "APPID": "wxb11529c136998cb6"},
    )
    assert plain.decode() == "我是中文abcd123"
    sealed = (
        "D7yzvUNAL930rd28wf21s4hvXhz0L6Uit/p2Di6C5DHyYGpEgdBRnKjBec34JwoQXicwaZC7fOVihW80F4VtsdvE//1vr7oAbqjDv8KenVp+aj"
        "KYpJnyQ4zMRhIC+a31fCVOMC03FfzV/QuC94kBP55a+Za3sJgvAn+ZbsNqZI5DkyuzkhQN8OBqCzFhizGmy0xpM0MEA4agpvE+RuNO1rhHTtuJ"
        "B5yltw1FiYzecSXJ+y/D2r81VkRn2eYjh2ltsoyfbDR7Is6ookXIFxTfyeNyeHxMeT4KN5WpCDmSbTcUYrbBUlkGLJ9n/rU8YOywma6G7aTb7K"
        "ZKOqCxgfoUlYEZPk4FUL/TK7ShriFDMVCLyjQJ15Ob++agDWtcxhfUfe6HIoIpRW8mKNBQiY/Jd1svvuskA1wLef1RTtzKfMpagSCX/laZINmd"
        "nX4zrF6kIaR9P4xQrWXbsTFHTYe0Mg=="
    )
    secrets = {"WEBHOOK_TOKEN": "AAAAA", "WEBHOOK_KEY": "A" * 43, "APPID": "wx134c8103faa5a59e"}
    query = {
        "timestamp": "1715943329",
        "nonce": "1590219412",
        "msg_signature": "6c12a4205838198b8fa631b3220723bb07f1015c",
    }
    body = json.dumps({"Encrypt": sealed}).encode()
    now = datetime.fromtimestamp(1715943329, UTC)
    assert b"debug_demo" in EncryptedSignature().open(Incoming({}, body, query), secrets, now)
    with pytest.raises(ForgedError, match="another app"):
        EncryptedSignature().open(Incoming({}, body, query), secrets | {"APPID": "wx2"}, now)


@pytest.mark.parametrize("sealed", ["!!!", "YWJj", "AAAAAAAAAAAAAAAAAAAAAA=="])
def test_what_cannot_be_decrypted_is_a_forgery(sealed: str) -> None:
    with pytest.raises(ForgedError):
        EncryptedSignature().decrypt(sealed, {"WEBHOOK_KEY": KEY, "APPID": "wx1"})


def test_events_are_read_as_declared() -> None:
    webhook = Webhook(
        signature=TokenSignature(header="x"),
        topic="type",
        events="events",
        delivery="id",
        notices=(
            Notice(topic="order.deleted", streams=("orders",), key="id", prefix="o/", is_deletion=True),
            Notice(topic="order.*", streams=("orders",), key="id", prefix="o/"),
            Notice(topic="merge", streams=("people",), key="old", merged_into="new"),
        ),
    )
    message = json.dumps(
        {
            "id": "d1",
            "events": [
                {"type": "order.paid", "id": 7},
                {"type": "order.deleted", "id": 8},
                {"type": "weather"},
                {"type": "merge", "old": ["1", "2"], "new": 3},
            ],
        }
    ).encode()
    found = webhook.read(message, None)
    assert [(event.keys, event.notice.is_deletion, event.merged_into) for event in found] == [
        (("o/7",), False, None),
        (("o/8",), True, None),
        (("1", "2"), False, "3"),
    ]
    assert webhook.delivery_of(message, {}) == "d1"
    for broken in (
        b'{"events":[7]}',
        b'{"events":[{"type":"order.x"}]}',
        b'{"events":[{"type":"merge","old":"1"}]}',
        b"<",
    ):
        with pytest.raises(ValueError, match=r"\S"):
            webhook.read(broken, None)
    with pytest.raises(ValueError, match="names the delivery"):
        webhook.delivery_of(b"{}", {})


def test_a_merge_takes_its_primary_record_too_unless_that_was_kept() -> None:
    merge = Notice(
        topic="merge",
        when="state",
        equals="done",
        streams=("people",),
        key="old",
        merged_into="new",
        primary="first",
    )
    webhook = Webhook(
        signature=TokenSignature(header="x"),
        topic="type",
        notices=(merge, Notice(topic="merge", streams=("people",), key="first")),
    )

    def read(**more: Any) -> list[tuple[tuple[str, ...], str | None]]:
        message = json.dumps({"type": "merge", "old": [2, 3], "first": 1, **more}).encode()
        return [(event.keys, event.merged_into) for event in webhook.read(message, None)]

    assert read(state="done", new=9) == [(("2", "3", "1"), "9")]
    assert read(state="done", new=1) == read(state="done", new=None) == [(("2", "3"), "1")]
    assert read(state="failed", new=9) == read(new=9) == [(("1",), None)]
    with pytest.raises(ValueError, match="what was kept"):
        read(state="done", first=None)


def test_a_digest_without_a_key_needs_a_secret_inside() -> None:
    signature = DigestSignature(
        header="h", key=None, parts=("secret:A", "body", "secret:B"), digest="md5", encoding="hex"
    )
    assert signature.secrets == ("A", "B")
