"""What systems of the sandbox tell when a record changes: notifications in their vendors' forms, signed as vendors sign them.

A twin that tells anything has `changed(since)`: topics and ids of what changed. How it is written and signed stands here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlencode, urlsplit

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from connectors.sandbox.credentials import Credentials, rsa2, rsa_keys

Change = tuple[str, str]  # topic as the vendor writes it, id


@runtime_checkable
class Telling(Protocol):
    """A twin that tells what changed."""

    def changed(self, since: datetime) -> Iterable[Change]:
        """What changed since then, oldest first."""
        ...


@dataclass(frozen=True)
class Notification:
    """One request to a company's address."""

    headers: dict[str, str]
    body: bytes
    params: dict[str, str] = field(default_factory=dict)


def secret(credentials: Credentials, system: str) -> str:
    """What a system signs its notifications with."""
    return credentials.secret(system, "WEBHOOK_SECRET", 43 if system == "wechat_shop" else 32)


def env(credentials: Credentials, system: str) -> dict[str, str]:
    """Variables that whoever receives a system's notifications needs, short of the address."""
    prefix = f"ORDERHUB_{system.upper()}_WEBHOOK_"
    if system == "wechat_shop":
        return {
            f"{prefix}KEY": secret(credentials, system),
            f"{prefix}TOKEN": credentials.secret(system, "WEBHOOK_TOKEN"),
        }
    return {f"{prefix}SECRET": secret(credentials, system)} if system in _WRITERS else {}


def notifications(
    credentials: Credentials, system: str, changes: Iterable[Change], address: str, variables: dict[str, str]
) -> Iterator[Notification]:
    """Write and sign what a system tells.

    Args:
        credentials: of the sandbox.
        system: its name.
        changes: what it tells.
        address: where it sends it, as registered.
        variables: what the twin tells connectors, such as an app's key.
    """
    for number, (topic, key) in enumerate(changes):
        delivery = hashlib.sha256(f"{system}/{topic}/{key}/{number}/{datetime.now(UTC)}".encode()).hexdigest()
        yield _WRITERS[system](
            _Letter(topic, key, delivery, address, secret(credentials, system), credentials, variables)
        )


@dataclass(frozen=True)
class _Letter:
    topic: str
    key: str
    delivery: str
    address: str
    secret: str
    credentials: Credentials
    variables: dict[str, str]

    def mac(self, *parts: bytes, key: str | None = None) -> bytes:
        return hmac.new((key or self.secret).encode(), b"".join(parts), hashlib.sha256).digest()


def _json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _shopify(letter: _Letter) -> Notification:
    number = letter.key.rpartition("/")[2]
    body = _json(
        {"id": int(number)}
        | ({} if letter.topic.endswith("/delete") else {"admin_graphql_api_id": letter.key})
    )
    headers = {
        "X-Shopify-Topic": letter.topic,
        "X-Shopify-Webhook-Id": letter.delivery,
        "X-Shopify-Hmac-Sha256": _b64(letter.mac(body)),
    }
    return Notification(headers, body)


def _square(letter: _Letter) -> Notification:
    kind = letter.topic.partition(".")[0]
    data: dict[str, Any] = {"type": kind, "id": letter.key, "object": {}}
    old, _, new = letter.key.partition(">")
    if new:
        merge = {"from_customer_ids": old.split("+"), "to_customer_id": new}
        data = {"type": kind, "id": new, "object": {"event_context": {"merge": merge}}}
    if letter.topic.endswith(".deleted"):
        data["deleted"] = True
    body = _json({"merchant_id": "M1", "type": letter.topic, "event_id": letter.delivery, "data": data})
    return Notification(
        {"x-square-hmacsha256-signature": _b64(letter.mac(letter.address.encode(), body))}, body
    )


def _stripe(letter: _Letter) -> Notification:
    body = _json(
        {
            "id": f"evt_{letter.delivery[:24]}",
            "object": "event",
            "type": letter.topic,
            "data": {"object": {"id": letter.key}},
        }
    )
    sent_at = str(int(datetime.now(UTC).timestamp()))
    signed = letter.mac(sent_at.encode(), b".", body).hex()
    return Notification({"Stripe-Signature": f"t={sent_at},v1={signed}"}, body)


def _hubspot(letter: _Letter) -> Notification:
    event: dict[str, Any] = {"eventId": 1, "subscriptionType": letter.topic, "attemptNumber": 0}
    old, _, new = letter.key.partition(">")
    if new:
        event |= {"mergedObjectIds": [int(part) for part in old.split("+")], "newObjectId": int(new)}
    else:
        event["objectId"] = int(letter.key)
    body = _json([event])
    sent_at = str(int(datetime.now(UTC).timestamp() * 1000))
    signed = letter.mac(b"POST", letter.address.encode(), body, sent_at.encode())
    return Notification(
        {"X-HubSpot-Signature-v3": _b64(signed), "X-HubSpot-Request-Timestamp": sent_at}, body
    )


def _zendesk(letter: _Letter) -> Notification:
    body = _json(
        {"id": letter.delivery, "type": f"zen:event-type:{letter.topic}", "detail": {"id": letter.key}}
    )
    sent_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    headers = {
        "X-Zendesk-Webhook-Signature": _b64(letter.mac(sent_at.encode(), body)),
        "X-Zendesk-Webhook-Signature-Timestamp": sent_at,
    }
    return Notification(headers, body)


def _karrio(letter: _Letter) -> Notification:
    return Notification(
        {"X-Event-Id": letter.secret}, _json({"event": letter.topic, "data": {"id": letter.key}})
    )


def _lazada(letter: _Letter) -> Notification:
    body = _json({"seller_id": "1234567", "message_type": 0, "data": {"trade_order_id": letter.key, "order_status": "paid"},
                  "timestamp": 1603766859530, "site": "lazada_sg"})  # fmt: skip
    app, key = letter.variables["ORDERHUB_LAZADA_APP_KEY"], letter.variables["ORDERHUB_LAZADA_APP_SECRET"]
    return Notification({"Authorization": letter.mac(app.encode(), body, key=key).hex()}, body)


def _douyin(letter: _Letter) -> Notification:
    data = json.dumps({"p_id": int(letter.key), "shop_id": 4463798})
    body = _json([{"tag": letter.topic, "msg_id": letter.delivery, "data": data}])
    app, key = letter.variables["ORDERHUB_DOUYIN_APP_KEY"], letter.variables["ORDERHUB_DOUYIN_APP_SECRET"]
    signed = hashlib.md5(app.encode() + body + key.encode(), usedforsecurity=False).hexdigest()
    return Notification({"app-id": app, "event-sign": signed}, body)


def _xiaohongshu(letter: _Letter) -> Notification:
    data = json.dumps({"orderId": letter.key, "updateTime": 1752812659421})
    body = _json([{"msgTag": letter.topic, "sellerId": "5f2d", "data": data}])
    app, key = (
        letter.variables["ORDERHUB_XIAOHONGSHU_APP_ID"],
        letter.variables["ORDERHUB_XIAOHONGSHU_APP_SECRET"],
    )
    sent_at = str(int(datetime.now(UTC).timestamp()))
    query = f"{urlsplit(letter.address).path}?app-key={app}&timestamp={sent_at}{key}"
    signed = hashlib.md5(query.encode(), usedforsecurity=False).hexdigest()
    return Notification({"app-key": app, "timestamp": sent_at, "sign": signed}, body)


def _alipay(letter: _Letter) -> Notification:
    form = {
        "app_id": letter.variables["ORDERHUB_ALIPAY_APP_ID"], "charset": "utf-8", "notify_id": letter.delivery,
        "notify_time": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}", "notify_type": "trade_status_sync",
        "subject": "面霜 50ml", "trade_no": letter.key, "trade_status": letter.topic, "version": "1.0",
    }  # fmt: skip
    _, theirs = rsa_keys(letter.credentials.seed)
    sign = rsa2("&".join(f"{name}={form[name]}" for name in sorted(form)), theirs)
    body = urlencode({**form, "sign_type": "RSA2", "sign": sign}).encode()
    return Notification({"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, body)


def _wechat(letter: _Letter) -> Notification:
    message = _json({"MsgType": "event", "Event": letter.topic, "order_info": {"order_id": letter.key}})
    app = letter.variables["ORDERHUB_WECHAT_SHOP_APPID"].encode()
    plain = os.urandom(16) + len(message).to_bytes(4, "big") + message + app
    fill = 32 - len(plain) % 32
    key = base64.b64decode(letter.secret + "=")
    writer = Cipher(algorithms.AES(key), modes.CBC(key[:16])).encryptor()
    sealed = _b64(writer.update(plain + bytes([fill]) * fill) + writer.finalize())
    token, sent_at = (
        letter.credentials.secret("wechat_shop", "WEBHOOK_TOKEN"),
        str(int(datetime.now(UTC).timestamp())),
    )
    signed = hashlib.sha1("".join(sorted([token, sent_at, "5501", sealed])).encode(), usedforsecurity=False)
    params = {"timestamp": sent_at, "nonce": "5501", "msg_signature": signed.hexdigest()}
    return Notification({}, _json({"ToUserName": "gh_1", "Encrypt": sealed}), params)


def _vendure(letter: _Letter) -> Notification:
    body = _json({"type": letter.topic, "id": letter.key, "at": datetime.now(UTC).isoformat()})
    return Notification({"X-Orderhub-Signature": letter.mac(body).hex()}, body)


_WRITERS: dict[str, Callable[[_Letter], Notification]] = {
    "shopify": _shopify,
    "square": _square,
    "stripe": _stripe,
    "hubspot": _hubspot,
    "zendesk": _zendesk,
    "karrio": _karrio,
    "lazada": _lazada,
    "douyin": _douyin,
    "wechat_shop": _wechat,
    "xiaohongshu": _xiaohongshu,
    "alipay": _alipay,
    "vendure": _vendure,
}
