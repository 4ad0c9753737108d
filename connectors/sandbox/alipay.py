"""Alipay as the sandbox company's Chinese customers use it: at the tills, in the web shop, on Tmall.

The gateway checks our signature and signs its answers; bills are zips of GBK tables with comment lines, tabs behind
numbers and totals at their end. A day's bill is there from nine o'clock of the next, Chinese time. Alipay keeps its fee of
each trade; every working morning at two what is on the account is withdrawn to the bank.

What is dirty here: order numbers as each channel writes them for Alipay (Tmall's behind `T200P`, the shop's with the
number of the attempt), mistyped at times. One host stands for gateway and bill centre.

Source: https://opendocs.alipay.com/open/02e7gr
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import time
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.credentials import Credentials, rsa2, rsa_keys
from connectors.sandbox.differences import Cause, Differences, Planted
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.notify import Change
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Order, World

_METHOD = "alipay.data.dataservice.bill.downloadurl.query"
_NODE = _METHOD.replace(".", "_") + "_response"
_SHANGHAI = ZoneInfo("Asia/Shanghai")
_LINK_SECONDS = 30
_TRADE_HEADER = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,商家实收（元）,"
    "支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,卡消费金额（元）,"
    "退款批次号/请求号,服务费（元）,分润（元）,备注"
)
_ENTRY_HEADER = "账务流水号,业务流水号,商户订单号,商品名称,发生时间,对方账号,收入金额（+元）,支出金额（-元）,账户余额（元）,交易渠道,业务类型,备注"
_SUMMARY_HEADER = "门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,服务费（元）,实收净额（元）"


def _refuse(wait: float) -> Response:
    node = {
        "code": "40005",
        "msg": "Call Limited",
        "sub_code": "isv.app-call-limited",
        "sub_msg": "应用调用次数超限",
    }
    return PlainTextResponse(
        json.dumps({"error_response": node}, ensure_ascii=False), media_type="text/html;charset=utf-8"
    )


def takes(order: Order) -> bool:
    """Whether an order was paid into the company's own Alipay account."""
    return (
        order.payment_method == "alipay"
        and order.channel in (Channel.POS, Channel.SHOPIFY, Channel.VENDURE, Channel.TMALL)
        and order.currency == "CNY"
        and order.paid_at is not None
        and not order.is_test
    )


@dataclass(frozen=True)
class _Movement:
    """One line of a bill: what happened when, to the cent, in CNY; the fee is what Alipay keeps."""

    at: datetime
    key: str
    kind: str  # 交易, 退款, 收费 or 提现
    amount: Decimal
    fee: Decimal = Decimal("0.00")
    order: Order | None = None
    refund: str = ""
    copy: str = ""  # tells an entry that was booked twice from the first


def _ready(day: date) -> datetime:
    """When a day's bill is there."""
    return datetime(day.year, day.month, day.day, 9, tzinfo=_SHANGHAI) + timedelta(days=1)


def _oldest_first(items: Iterable[_Movement]) -> list[_Movement]:
    return sorted(items, key=lambda item: (item.at, item.key, item.kind))


class Twin:
    """Alipay over one world."""

    name = "alipay"
    rate_limit = RateLimit(limit=200, window=1.0, refuse=_refuse)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world = world
        self._dirt = dirt
        self._credentials = credentials
        self._differences = Differences(world, dirt)
        self._paid = [order for order in world.orders.values() if takes(order)]
        self._app_id = "2026" + dirt.token("app", 12, "0123456789")
        self._account = "2088" + dirt.token("account", 12, "0123456789")

    def env(self, base_url: str) -> dict[str, str]:
        ours, theirs = rsa_keys(self._credentials.seed)
        private = ours.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = theirs.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        first = min((order.placed_at for order in self._world.orders.values()), default=self._world.now)
        return {
            "ORDERHUB_ALIPAY_URL": base_url,
            "ORDERHUB_ALIPAY_APP_ID": self._app_id,
            "ORDERHUB_ALIPAY_PRIVATE_KEY": base64.b64encode(private).decode(),
            "ORDERHUB_ALIPAY_PUBLIC_KEY": base64.b64encode(public).decode(),
            "ORDERHUB_ALIPAY_SINCE": (first - timedelta(days=1)).isoformat(),
        }

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/gateway.do", self._gateway, methods=["GET", "POST"]),
            Route("/downloadBillFile.resource", self._download),
        ]

    def truth(self) -> Iterable[Truth]:
        for order in self._paid:
            yield Truth("order", f"alipay:trades:{self._trade_no(order)}", order.order_id)

    def differences(self) -> Iterable[Planted]:
        """What was taken in part, and what the account books otherwise than it was taken."""
        return self._differences.listed if self._movements else []

    def changed(self, since: datetime) -> Iterable[Change]:
        """Trades that were paid since then."""
        return [
            ("TRADE_SUCCESS", self._trade_no(order))
            for order in self._paid
            if order.paid_at is not None and since <= order.paid_at <= self._world.now
        ]

    # --- what the merchant sees ---------------------------------------------------------------------------

    def _trade_no(self, order: Order) -> str:
        assert order.paid_at is not None
        return f"{order.paid_at.astimezone(_SHANGHAI):%Y%m%d}2200{self._dirt.token(f'trade/{order.order_id}', 16, '0123456789')}"

    def _order_no(self, order: Order) -> str:
        """The order's number as its channel hands it to Alipay: letters, digits, hyphens."""
        number = (
            self._dirt.order_number(order.number, f"trade/{order.order_id}").replace("#", "").replace(" ", "")
        )
        if order.channel is Channel.TMALL:
            return f"T200P{number}"
        is_numbered = order.channel is Channel.SHOPIFY and self._dirt.chance(f"attempt/{order.order_id}", 0.1)
        return f"{number}-1" if is_numbered else number

    @cached_property
    def _trades(self) -> list[_Movement]:
        """Trades and refunds as the business bill has them, oldest first."""
        found = []
        for order in self._paid:
            assert order.paid_at is not None
            key, fee = self._trade_no(order), order.payment_fee_amount
            found.append(_Movement(order.paid_at, key, "交易", self._taken(order), fee, order))
            found += [
                _Movement(
                    taken.refunded_at, key, "退款", -taken.refund_amount, order=order, refund=taken.return_id
                )
                for taken in order.returns
            ]
        return _oldest_first(item for item in found if item.at <= self._world.now)

    @cached_property
    def _movements(self) -> list[_Movement]:
        """What the account books: trades, refunds, fees and withdrawals, oldest first."""
        found = []
        for item in self._trades:
            found += self._entered(item) if item.kind == "交易" else [item]
            if item.fee:
                found.append(_Movement(item.at, item.key, "收费", -item.fee, order=item.order))
        found = _oldest_first(found)
        return _oldest_first([*found, *self._withdrawals(found)])

    def _short(self, document: str, order: Order, amount: Decimal) -> Decimal:
        """What is left of an amount of which nobody knows why a part is not there."""
        short = self._differences.part(f"{document}/{order.order_id}", amount, order.currency)
        self._differences.plant(document, order, Cause.UNEXPLAINED, short)
        return amount - short

    def _cause(self, document: str, order: Order) -> Cause | None:
        """The cause drawn for a document, if a bill shows it by now and nothing of the order was given back."""
        assert order.paid_at is not None
        if order.returns or self._world.now < _ready(order.paid_at.astimezone(_SHANGHAI).date()):
            return None
        return self._differences.draw(document, order)

    def _is_cut(self, order: Order) -> bool:
        return self._cause("payment", order) is Cause.UNEXPLAINED

    def _taken(self, order: Order) -> Decimal:
        """What the buyer paid: at times a part of it."""
        return (
            self._short("payment", order, order.total_amount) if self._is_cut(order) else order.total_amount
        )

    def _entered(self, trade: _Movement) -> list[_Movement]:
        """A trade as the account books it: at times twice, in part, or not at all."""
        order = trade.order
        assert order is not None  # a trade has one
        if self._is_cut(order):
            self._differences.plant("settlement", order, Cause.UNEXPLAINED, order.total_amount - trade.amount)
            return [trade]
        match self._cause("settlement", order):
            case Cause.MISSING if self._differences.is_overdue("settlement", order):
                self._differences.plant("settlement", order, Cause.MISSING, trade.amount)
                return []
            case Cause.DUPLICATE:
                self._differences.plant("settlement", order, Cause.DUPLICATE, -trade.amount)
                return [trade, replace(trade, copy="again")]
            case Cause.UNEXPLAINED:
                return [replace(trade, amount=self._short("settlement", order, trade.amount))]
        return [trade]

    def _withdrawals(self, found: list[_Movement]) -> list[_Movement]:
        if not found:
            return []
        withdrawn: list[_Movement] = []
        balance, place = Decimal(0), 0
        day = found[0].at.astimezone(_SHANGHAI).date()
        while True:
            day += timedelta(days=1)
            at = datetime(day.year, day.month, day.day, 2, tzinfo=_SHANGHAI).astimezone(UTC)
            if at > self._world.now:
                return withdrawn
            while place < len(found) and found[place].at < at:
                balance += found[place].amount
                place += 1
            if day.weekday() < 5 and balance > 0:
                withdrawn.append(_Movement(at, f"withdrawal/{day}", "提现", -balance))
                balance = Decimal(0)

    @staticmethod
    def _of_day(day: date, items: list[_Movement]) -> list[_Movement]:
        return [item for item in items if item.at.astimezone(_SHANGHAI).date() == day]

    def _bill(self, kind: str, day: date) -> bytes | None:
        """The zip of one day's bill; None where there is nothing to show, or it is too early."""
        rows = self._of_day(day, self._trades if kind == "trade" else self._movements)
        if self._world.now < _ready(day) or not rows:
            return None
        files = self._trade_files(day, rows) if kind == "trade" else self._account_files(day, rows)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, lines in files.items():
                # Alipay writes the names in GBK, which the format has no word for.
                raw = f"{self._account}_{day:%Y%m%d}_{name}.csv".encode("gbk").decode("cp437")
                content = "\r\n".join(lines) + "\r\n"
                archive.writestr(zipfile.ZipInfo(raw, (2026, 1, 1, 0, 0, 0)), content.encode("gbk"))
        return packed.getvalue()

    def _framed(self, what: str, day: date, header: str, lines: list[str], totals: list[str]) -> list[str]:
        begins, ends = f"{day:%Y年%m月%d日} 00:00:00", f"{day + timedelta(days=1):%Y年%m月%d日} 00:00:00"
        kind = what.removesuffix("查询")
        return [
            f"#支付宝{what}", f"#账号：[{self._account}0156]", f"#起始日期：[{begins}]   终止日期：[{ends}]",
            f"#-----------------------------------------{kind}列表----------------------------------------", header, *lines,
            f"#-----------------------------------------{kind}列表结束------------------------------------", *totals,
            f"#导出时间：[{day + timedelta(days=1):%Y年%m月%d日} 08:12:01]",
        ]  # fmt: skip

    def _trade_files(self, day: date, rows: list[_Movement]) -> dict[str, list[str]]:
        lines = []
        for item in rows:
            order = item.order
            assert order is not None  # a trade has one
            amount, buyer = f"{item.amount:.2f}", self._dirt.token(f"buyer/{order.order_id}", 4, "0123456789")
            store = order.selling_location_id or ""
            created = item.at - timedelta(
                seconds=self._dirt.number(f"created/{item.key}/{item.refund}", 1, 40)
            )
            lines.append(
                f"{item.key}\t,{self._order_no(order)}\t,{item.kind}\t,Luna Botanica 商品,{_local(created)},{_local(item.at)},"
                f"{store}\t,\t,\t,\t,*客(138****{buyer})\t,{amount},{amount},0.00,0.00,0.00,0.00,0.00,,0.00\t,0.00,"
                f"{item.refund}\t,{-item.fee:.2f},0.00,"
            )
        paid, back = ([item for item in rows if item.kind == kind] for kind in ("交易", "退款"))
        totals = [
            f"#交易合计：{len(paid)}笔，商家实收共{_sum(paid):.2f}元，商家优惠共0.00元",
            f"#退款合计：{len(back)}笔，商家实收退款共{_sum(back):.2f}元，商家优惠退款共0.00元",
        ]
        fees = sum((item.fee for item in rows), Decimal(0))
        summary = f"合计\t,\t,{len(paid)},{len(back)},{_sum(rows):.2f},{_sum(rows):.2f},{-fees:.2f},{_sum(rows) - fees:.2f}"
        return {
            "业务明细": self._framed("业务明细查询", day, _TRADE_HEADER, lines, totals),
            "业务明细(汇总)": self._framed("业务汇总查询", day, _SUMMARY_HEADER, [summary], []),
        }

    def _account_files(self, day: date, rows: list[_Movement]) -> dict[str, list[str]]:
        names = {"交易": "在线支付", "退款": "交易退款"}
        balance = sum((item.amount for item in self._movements if item.at < rows[0].at), Decimal(0))
        lines = []
        for item in rows:
            balance += item.amount
            number = self._dirt.token(
                f"entry/{item.key}/{item.kind}/{item.refund}{item.copy}", 14, "0123456789"
            )
            came, went = max(item.amount, Decimal(0)), min(item.amount, Decimal(0))
            order_no = self._order_no(item.order) if item.order else ""
            business_no = item.key if item.order else f"{item.at:%Y%m%d}{number}"
            lines.append(
                f"{number}\t,{business_no}\t,{order_no}\t,{'Luna Botanica 商品' if item.order else '提现'}\t,{_local(item.at)},"
                f"{'*客' if item.order else '招商银行'},{came:.2f},{went:.2f},{balance:.2f},支付宝,{names.get(item.kind, item.kind)},"
                f"{item.refund}"
            )
        came_in, went_out = ([item for item in rows if (item.amount > 0) is is_in] for is_in in (True, False))
        totals = [
            f"#支出合计：{len(went_out)}笔，共{_sum(went_out):.2f}元",
            f"#收入合计：{len(came_in)}笔，共{_sum(came_in):.2f}元",
        ]
        return {"账务明细": self._framed("账务明细查询", day, _ENTRY_HEADER, lines, totals)}

    # --- the protocol -------------------------------------------------------------------------------------

    async def _gateway(self, request: Request) -> Response:
        params = dict(request.query_params)
        if request.method == "POST":
            params |= {name: str(value) for name, value in (await request.form()).items()}
        node = self._judge(params) or self._find_bill(params, str(request.url).partition("/gateway.do")[0])
        text = json.dumps(node, ensure_ascii=False, separators=(",", ":"))
        signature = rsa2(text, rsa_keys(self._credentials.seed)[1])
        content = f'{{"{_NODE}":{text},"sign":"{signature}"}}'
        return PlainTextResponse(content, media_type="text/html;charset=utf-8")

    def _judge(self, params: dict[str, str]) -> dict[str, Any] | None:
        """What the gateway itself finds wrong with a call."""
        for name in ("app_id", "method", "charset", "sign_type", "sign", "timestamp", "version"):
            if not params.get(name):
                what = "signature" if name == "sign" else name.replace("_", "-")
                return _failed(
                    "40001", "Missing Required Arguments", f"isv.missing-{what}", f"缺少{name}参数"
                )
        if params["app_id"] != self._app_id:
            return _failed("40002", "Invalid Arguments", "isv.invalid-app-id", "无效的AppID参数")
        if params["method"] != _METHOD:
            return _failed("40002", "Invalid Arguments", "isv.invalid-method", "不存在的方法名")
        if params["sign_type"] != "RSA2":
            return _failed("40002", "Invalid Arguments", "isv.invalid-signature-type", "无效的签名类型")
        text = "&".join(
            f"{name}={params[name]}" for name in sorted(params) if params[name] and name != "sign"
        )
        try:
            rsa_keys(self._credentials.seed)[0].public_key().verify(
                base64.b64decode(params["sign"]), text.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except (InvalidSignature, ValueError):
            return _failed(
                "40002", "Invalid Arguments", "isv.invalid-signature", "验签出错，请检查签名字符串或签名私钥"
            )
        return None

    def _find_bill(self, params: dict[str, str], base_url: str) -> dict[str, Any]:
        try:
            asked = json.loads(params.get("biz_content", ""))
            kind, day = str(asked["bill_type"]), date.fromisoformat(asked["bill_date"])
        except (ValueError, KeyError, TypeError):
            return _failed("40004", "Business Failed", "invalid_arguments", "参数有误")
        if kind not in ("trade", "signcustomer"):
            return _failed("40004", "Business Failed", "invalid_arguments", "账单类型有误")
        if self._bill(kind, day) is None:
            return _failed("40004", "Business Failed", "isp.bill_not_exist", "账单不存在")
        link = {
            "bizType": kind, "userId": f"{self._account}0156", "fileType": "csv.zip", "bizDates": f"{day:%Y%m%d}",
            "downloadFileName": f"{self._account}0156_{day:%Y%m%d}.csv.zip", "timestamp": str(int(time.time())),
        }  # fmt: skip
        link["token"] = self._token(link)
        url = f"{base_url}/downloadBillFile.resource?{urlencode(link)}"
        return {"code": "10000", "msg": "Success", "bill_download_url": url}

    def _token(self, link: dict[str, str]) -> str:
        key = self._credentials.secret("alipay", "LINK").encode()
        text = "&".join(f"{name}={link[name]}" for name in sorted(link) if name != "token")
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    async def _download(self, request: Request) -> Response:
        link = dict(request.query_params)
        if not hmac.compare_digest(self._token(link), link.get("token", "")):
            return PlainTextResponse("链接无效", status_code=403)
        if time.time() - int(link["timestamp"]) > _LINK_SECONDS:
            return PlainTextResponse("下载链接已过期", status_code=403)
        bill = self._bill(link["bizType"], date.fromisoformat(link["bizDates"]))
        assert bill is not None  # the link was made for it
        return Response(bill, media_type="application/zip")


def _failed(code: str, message: str, sub_code: str, sub_message: str) -> dict[str, Any]:
    return {"code": code, "msg": message, "sub_code": sub_code, "sub_msg": sub_message}


def _local(at: datetime) -> str:
    return f"{at.astimezone(_SHANGHAI):%Y-%m-%d %H:%M:%S}"


def _sum(items: Iterable[_Movement]) -> Decimal:
    return sum((item.amount for item in items), Decimal(0))
