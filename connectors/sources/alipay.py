"""Alipay, the wallet of Chinese customers: the merchant's daily bills of trades and of the account.

Protocol: one gateway for every method; parameters are signed with our key (RSA2), answers with Alipay's. A query answers
where a day's bill can be fetched, within 30 seconds; a bill is a zip of GBK tables with comment lines around them. The
bill of a day is there from nine o'clock of the next, Chinese time; a day without movements has none, and both are said
with the same code. Trades come with their fee; the account's bill tells what came, went and was withdrawn to the bank.

Alipay's asynchronous notification of a trade is verified and kept; it leads to a pull of the bills.

Source: https://opendocs.alipay.com/open/02e7gr (alipay.data.dataservice.bill.downloadurl.query),
https://opendocs.alipay.com/common/02mse7 (signatures)
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Generator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import BaseModel, ConfigDict

from connectors.declare import (
    Amount,
    Ask,
    Bounds,
    BrokenAnswerError,
    ConnectorError,
    ControlTotal,
    Currency,
    FatalError,
    Field,
    FormSignature,
    Kind,
    Notice,
    ProtocolError,
    Record,
    RefusedError,
    Secrets,
    Source,
    Stream,
    ThrottledError,
    Webhook,
    decode_json,
    local_instant,
    read_form,
    read_rsa_key,
    sign_rsa2,
    verify_rsa2,
)

_METHOD = "alipay.data.dataservice.bill.downloadurl.query"
_NODE = _METHOD.replace(".", "_") + "_response"
_GATEWAY = "/gateway.do"
_SHANGHAI = ZoneInfo("Asia/Shanghai")
_LARGEST_FILE = 256 * 1024 * 1024
_NO_BILL = ("isp.bill_not_exist", "BILL_NOT_EXIST")
_UNPAIRED = ("isv.invalid-signature", "isv.missing-signature", "isv.invalid-app-id", "isv.invalid-auth-token")


class Trade(Record):
    """One payment or refund through Alipay, as the bill of its day shows it; amounts are CNY, of refunds negative."""

    trade_no: str = Field(validation_alias="支付宝交易号", min_length=1)
    merchant_order_no: str | None = Field(None, validation_alias="商户订单号")
    business_type: str = Field(validation_alias="业务类型", pattern="^(交易|退款)$")
    refund_request_no: str = Field("", validation_alias="退款批次号/请求号")
    subject: str | None = Field(None, validation_alias="商品名称")
    store_code: str | None = Field(None, validation_alias="门店编号")
    buyer: str | None = Field(None, validation_alias="对方账户", description="masked")
    currency: Currency = "CNY"
    order_amount: Amount = Field(validation_alias="订单金额(元)")
    received_amount: Amount = Field(validation_alias="商家实收(元)")
    merchant_discount_amount: Amount | None = Field(None, validation_alias="商家优惠(元)")
    fee_amount: Amount = Field(validation_alias="服务费(元)", description="negative: Alipay keeps it")
    remark: str | None = Field(None, validation_alias="备注")
    bill_on: date
    created_at: local_instant("Asia/Shanghai") = Field(validation_alias="创建时间")  # type: ignore[valid-type]
    completed_at: local_instant("Asia/Shanghai") = Field(validation_alias="完成时间")  # type: ignore[valid-type]


class AccountEntry(Record):
    """One movement on the account; one of `income_amount` and `expense_amount` is not zero."""

    entry_no: str = Field(validation_alias="账务流水号", min_length=1)
    business_no: str | None = Field(None, validation_alias="业务流水号", description="the trade's number")
    merchant_order_no: str | None = Field(None, validation_alias="商户订单号")
    entry_type: str = Field(validation_alias="业务类型", description="在线支付, 收费, 交易退款, 提现, …")
    subject: str | None = Field(None, validation_alias="商品名称")
    counterparty: str | None = Field(None, validation_alias="对方账号", description="masked")
    currency: Currency = "CNY"
    income_amount: Amount = Field(validation_alias="收入金额(+元)", ge=0)
    expense_amount: Amount = Field(validation_alias="支出金额(-元)", le=0)
    balance_amount: Amount = Field(validation_alias="账户余额(元)")
    remark: str | None = Field(None, validation_alias="备注")
    bill_on: date
    happened_at: local_instant("Asia/Shanghai") = Field(validation_alias="发生时间")  # type: ignore[valid-type]


# --- signatures ---------------------------------------------------------------------------------------------


def signed_text(params: Mapping[str, str]) -> str:
    """What is signed: every parameter but `sign` that is not empty, sorted by name, as `name=value` joined by `&`."""
    return "&".join(f"{name}={params[name]}" for name in sorted(params) if params[name] and name != "sign")


def answered_text(content: str, node: str) -> str | None:
    """The signed part of an answer: the node's JSON as it was sent, to the letter; None where there is no such node."""
    found = re.search(rf'"{re.escape(node)}"\s*:\s*', content)
    if found is None:
        return None
    _, end = json.JSONDecoder().raw_decode(content, found.end())
    return content[found.end() : end]


def _read_key(secrets: Secrets, name: str, kind: Literal["private", "public"]) -> Any:
    try:
        return read_rsa_key(secrets.get(name), kind)
    except ValueError as error:
        raise FatalError(f"alipay: ORDERHUB_ALIPAY_{name} holds {error}; copy it again") from error


class _Flow(httpx.Auth):
    def __init__(self, app_id: str, private_key: rsa.RSAPrivateKey, public_key: rsa.RSAPublicKey) -> None:
        self._app_id, self._private_key, self._public_key = app_id, private_key, public_key

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if not request.url.path.endswith(_GATEWAY):
            yield request  # a bill's address carries its own token
            return
        params = {
            **dict(request.url.params), "app_id": self._app_id, "format": "JSON", "charset": "utf-8",
            "sign_type": "RSA2", "timestamp": f"{datetime.now(_SHANGHAI):%Y-%m-%d %H:%M:%S}", "version": "1.0",
        }  # fmt: skip
        params["sign"] = sign_rsa2(signed_text(params), self._private_key)
        request.url = request.url.copy_with(params=params)
        response = yield request
        if response.status_code == 200:
            response.read()
            self._check(response.content)

    def _check(self, content: bytes) -> None:
        """Refuse a success that Alipay has not signed; who refuses us may not know whose key to use."""
        try:
            body = decode_json(content)
            text = answered_text(content.decode(), _NODE)
        except ValueError:
            return  # cut off; the client says so
        node = body.get(_NODE) if isinstance(body, dict) else None
        if not isinstance(node, dict) or text is None:
            return
        signature = body.get("sign")
        if not signature and node.get("code") == "10000":
            raise ProtocolError("alipay: the answer carries no signature; nothing of it is believed")
        if signature and not verify_rsa2(text, str(signature), self._public_key):
            raise RefusedError(
                "alipay: the answer's signature is not Alipay's. Check ORDERHUB_ALIPAY_PUBLIC_KEY (Alipay's public key, "
                "not ours), and who stands between"
            )


class AlipayAuth(BaseModel):
    """Secrets APP_ID, PRIVATE_KEY (ours) and PUBLIC_KEY (Alipay's)."""

    model_config = ConfigDict(frozen=True)

    @property
    def secrets(self) -> tuple[str, ...]:
        return ("APP_ID", "PRIVATE_KEY", "PUBLIC_KEY")

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        return _Flow(
            secrets.get("APP_ID"),
            _read_key(secrets, "PRIVATE_KEY", "private"),
            _read_key(secrets, "PUBLIC_KEY", "public"),
        )


# --- bills --------------------------------------------------------------------------------------------------


class BillPages(BaseModel):
    """First where the bill is, then the bill."""

    model_config = ConfigDict(frozen=True)
    ceiling: int | None = None

    def first(self, ask: Ask) -> Ask:
        return ask

    def after(self, ask: Ask, body: Any, row_count: int, headers: dict[str, str]) -> Ask | None:
        node = body.get(_NODE) if isinstance(body, dict) else None
        if not isinstance(node, dict) or not node.get("bill_download_url"):
            return None
        url = str(node["bill_download_url"])
        # Alipay still writes http for its own host.
        return Ask(path=url.replace("http://dwbillcenter.alipay.com", "https://dwbillcenter.alipay.com", 1))


def decode(content: bytes) -> Any:
    """Decode a gateway answer, or unzip a bill into `{"rows": [...]}`, headers as names.

    Raises:
        ValueError: neither, or a bill whose lines do not add up to its own totals.
    """
    if not content.startswith(b"PK"):
        return decode_json(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        rows = None
        for item in archive.infolist():
            if item.file_size > _LARGEST_FILE:
                raise ValueError(f"{item.filename} unpacks to more than {_LARGEST_FILE >> 20} MiB")
            text = archive.read(item).decode("gb18030")
            if text.startswith(("#支付宝业务明细查询", "#支付宝账务明细查询")):
                rows = [*(rows or []), *_read_bill(item.filename, text)]
    if rows is None:
        raise ValueError("the zip holds no table of details")
    return {"rows": rows}


def _read_bill(name: str, text: str) -> list[dict[str, Any]]:
    comments = [line for line in text.splitlines() if line.startswith("#")]
    lines = csv.reader(
        io.StringIO("\n".join(line for line in text.splitlines() if line and not line.startswith("#")))
    )
    header = [cell.strip().replace("（", "(").replace("）", ")") for cell in next(lines, [])]
    opened = next(
        (
            re.search(r"起始日期：\[(\d{4})年(\d{2})月(\d{2})日", line)
            for line in comments[:5]
            if "起始日期" in line
        ),
        None,
    )
    if opened is None or not header:
        raise ValueError(f"{name}: no day or no header where the bill has them")
    if not any("列表结束" in line for line in comments):
        raise ValueError(f"{name}: the bill is cut off: the line that ends its list is missing")
    day = "-".join(opened.groups())
    rows: list[dict[str, Any]] = []
    for line in lines:
        cells = [cell.strip() for cell in line]
        if len(cells) != len(header):
            raise ValueError(f"{name}: a line of {len(cells)} cells where the header has {len(header)}")
        rows.append({**{key: cell for key, cell in zip(header, cells, strict=True) if cell}, "bill_on": day})
    _check_totals(name, comments, rows)
    return rows


_TOTALS: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
    "交易合计": ("商家实收(元)", lambda row: row.get("业务类型") == "交易"),
    "退款合计": ("商家实收(元)", lambda row: row.get("业务类型") == "退款"),
    "收入合计": ("收入金额(+元)", lambda row: Decimal(row.get("收入金额(+元)", "0")) != 0),
    "支出合计": ("支出金额(-元)", lambda row: Decimal(row.get("支出金额(-元)", "0")) != 0),
}


def _check_totals(name: str, comments: list[str], rows: list[dict[str, Any]]) -> None:
    """Hold the lines to what the bill's footer counts and sums."""
    for line in comments:
        stated = re.match(r"#(..合计)：(\d+)笔，(?:商家实收(?:退款)?)?共(-?[\d.]+)元", line)
        if stated is None or stated[1] not in _TOTALS:
            continue
        column, belongs = _TOTALS[stated[1]]
        members = [row for row in rows if belongs(row)]
        total = sum((Decimal(row[column]) for row in members), Decimal(0))
        if (len(members), total) != (int(stated[2]), Decimal(stated[3])):
            raise ValueError(
                f"{name}: {stated[1]} states {stated[2]} lines of {stated[3]} yuan, but {len(members)} of {total} came"
            )


def _ask_bill(kind: str) -> Callable[[Bounds], Ask]:
    def ask(bounds: Bounds) -> Ask:
        # One window is one day; without a start there is none, and the day before is asked for.
        start = bounds.since or datetime.now(UTC) - timedelta(days=1)
        content = {"bill_type": kind, "bill_date": f"{start.astimezone(_SHANGHAI):%Y-%m-%d}"}
        return Ask(params={"method": _METHOD, "biz_content": json.dumps(content, separators=(",", ":"))})

    return ask


def fault(body: Any) -> ConnectorError | None:
    """Find an answer that is no success; that a day has no bill is no fault."""
    if not isinstance(body, dict) or "rows" in body:
        return None
    node = body.get(_NODE) or body.get("error_response")
    if not isinstance(node, dict):
        return ProtocolError(f"alipay: an answer without {_NODE}: {str(body)[:200]}")
    code, sub_code = str(node.get("code")), str(node.get("sub_code") or "")
    if code == "10000" or sub_code in _NO_BILL:
        return None
    message = f"alipay: {code} {node.get('msg')}: {sub_code} {node.get('sub_msg') or ''}".rstrip()
    if sub_code in _UNPAIRED:
        return RefusedError(
            f"{message}. Check ORDERHUB_ALIPAY_APP_ID and ORDERHUB_ALIPAY_PRIVATE_KEY: its public half must be registered with the app"
        )
    if code == "40005" or sub_code.endswith("call-limited"):
        return ThrottledError(message)
    return BrokenAnswerError(message) if code == "20000" else FatalError(message)


# What the bill of the day will say, and no bill says yet: it is pulled with the next one.
WEBHOOK = Webhook(
    signature=FormSignature(),
    topic="notify_type",
    notices=(Notice(topic="trade_status_sync", streams=("trades", "account_entries")),),
    delivery="notify_id",
    decode=read_form,
    reply="success",
    documentation="https://opendocs.alipay.com/common/02mse7",
)


def _bill(
    name: str, record: type[Record], key: tuple[str, ...], kind: str, cursor: str, **options: Any
) -> Stream:
    return Stream(
        name=name,
        record=record,
        key=key,
        path=_GATEWAY,
        ask=_ask_bill(kind),
        rows="rows",
        pages=BillPages(),
        cursor=cursor,
        # Alipay says that a bill may come late.
        lag=timedelta(days=3),
        window=timedelta(days=1),
        history=timedelta(days=180),
        kept="A bill is closed: what is undone is booked anew.",
        **options,
    )


SOURCE = Source(
    name="alipay",
    title="Alipay",
    kind=Kind.PAYMENT,
    owner="finance",
    base_url="https://openapi.alipay.com",
    hosts=("dwbillcenter.alipay.com",),
    auth=AlipayAuth(),
    decode=decode,
    fault=fault,
    webhook=WEBHOOK,
    documentation="https://opendocs.alipay.com/open/02e7gr",
    streams=(
        _bill(
            "trades", Trade, ("trade_no", "business_type", "refund_request_no"), "trade", "completed_at",
            control_totals=(ControlTotal(amount="received_amount", currency="currency"),),
            description="Payments and refunds of the daily trade bills.",
        ),
        _bill(
            "account_entries", AccountEntry, ("entry_no",), "signcustomer", "happened_at",
            control_totals=(
                ControlTotal(amount="income_amount", currency="currency"),
                ControlTotal(amount="expense_amount", currency="currency"),
            ),
            description="Movements on the account of the daily account bills.",
        ),
    ),
)  # fmt: skip
