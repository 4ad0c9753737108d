"""Alipay: signatures of both sides, and bills that land to the cent, day by day."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connectors.conformance import Conformance
from connectors.declare import Ask, Bounds, RefusedError, ThrottledError
from connectors.follow import follow
from connectors.landing import Landing
from connectors.notification import Receiver, waiting
from connectors.registry import sources
from connectors.rsa import read_rsa_key, sign_rsa2, verify_rsa2
from connectors.sandbox.alipay import Twin, takes
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.generate import generate
from connectors.sandbox.server import Sandbox, Served, serving
from connectors.sources.alipay import SOURCE, BillPages, answered_text, decode, fault, signed_text
from connectors.webhook import Incoming

TRADES, ENTRIES = SOURCE.streams
NODE = "alipay_data_dataservice_bill_downloadurl_query_response"


class TestAlipay(Conformance):
    source = SOURCE
    orders = 600
    spared: ClassVar[Mapping[str, str]] = {
        "duplicated_page": "a bill is one packed table",
        "drift": "a bill is one packed table, and the answers that point to it are signed",
    }


@pytest.fixture(scope="module")
def billed() -> Iterator[Served]:
    """A served twin of a clean world."""
    with serving(Sandbox(generate(7, 300), sources=["alipay"], level="none")) as served:
        yield served


@pytest.fixture(scope="module")
def call(billed: Served) -> Callable[..., dict[str, Any]]:
    """Call the gateway: business parameters, changed parameters -> the answer."""
    private = serialization.load_der_private_key(
        base64.b64decode(billed.env["ORDERHUB_ALIPAY_PRIVATE_KEY"]), None
    )
    assert isinstance(private, rsa.RSAPrivateKey)

    def ask(content: dict[str, str], **changes: str) -> dict[str, Any]:
        params = {
            "app_id": billed.env["ORDERHUB_ALIPAY_APP_ID"], "charset": "utf-8", "format": "JSON", "sign_type": "RSA2",
            "method": "alipay.data.dataservice.bill.downloadurl.query", "timestamp": "2026-10-31 10:00:00",
            "version": "1.0", "biz_content": json.dumps(content), **changes,
        }  # fmt: skip
        params.setdefault("sign", sign_rsa2(signed_text(params), private))
        answer = httpx.get(f"{billed.url}/alipay/gateway.do", params=params)
        assert answer.status_code == 200
        node: dict[str, Any] = answer.json()[NODE]
        return node

    return ask


def test_what_is_signed_is_every_parameter_sorted() -> None:
    params = {"method": "m", "app_id": "2014", "sign": "x", "empty": "", "biz_content": '{"a":1}'}
    assert signed_text(params) == 'app_id=2014&biz_content={"a":1}&method=m'


def test_alipays_own_example_is_signed_as_it_is_written() -> None:
    """The text to sign that Alipay documents for its menu call."""
    menu = (
        '{"button":[{"actionParam":"ZFB_HFCZ","actionType":"out","name":"话费充值"},{"name":"查询","subButton":['
        '{"actionParam":"ZFB_YECX","actionType":"out","name":"余额查询"},{"actionParam":"ZFB_LLCX","actionType":"out",'
        '"name":"流量查询"},{"actionParam":"ZFB_HFCX","actionType":"out","name":"话费查询"}]},'
        '{"actionParam":"http://m.alipay.com","actionType":"link","name":"最新优惠"}]}'
    )
    params = {
        "version": "1.0", "timestamp": "2014-07-24 03:07:50", "sign_type": "RSA2", "charset": "GBK",
        "method": "alipay.mobile.public.menu.add", "biz_content": menu, "app_id": "2014072300007148",
    }  # fmt: skip
    assert signed_text(params) == (
        f"app_id=2014072300007148&biz_content={menu}&charset=GBK&method=alipay.mobile.public.menu.add"
        "&sign_type=RSA2&timestamp=2014-07-24 03:07:50&version=1.0"
    )


def test_a_signature_holds_for_its_text_alone() -> None:
    key = rsa.generate_private_key(65537, 2048)
    signature = sign_rsa2("账单=1", key)
    assert verify_rsa2("账单=1", signature, key.public_key())
    assert not verify_rsa2("账单=2", signature, key.public_key())
    assert not verify_rsa2("账单=1", "no base64!", key.public_key())


def test_what_an_answer_signs_is_its_text_to_the_letter() -> None:
    content = '{"x_response": {"msg":"a \\"}\\" b",  "n": [1,{}]} ,"sign":"s"}'
    assert answered_text(content, "x_response") == '{"msg":"a \\"}\\" b",  "n": [1,{}]}'
    assert answered_text(content, "y_response") is None


def test_every_trade_lands_with_fee_and_refunds(serve: Any, pull: Any, landed: Any) -> None:
    with serve("alipay", orders=300, level="none") as served:
        world = served.sandbox.world
        since = datetime(2026, 10, 1, tzinfo=UTC) - timedelta(hours=8)
        results = pull("alipay", {**served.env, "ORDERHUB_ALIPAY_SINCE": since.isoformat()})
    assert [result.error for result in results.values()] == [None, None]
    # Of the last day the bill is not there yet.
    end = datetime(2026, 10, 30, tzinfo=UTC) - timedelta(hours=8)
    paid = {
        order.number.removeprefix("#"): (order.total_amount, -order.payment_fee_amount)
        for order in world.orders.values()
        if takes(order) and order.paid_at is not None and since <= order.paid_at < end
    }
    trades = landed("trades")
    assert paid
    assert paid == {
        row["merchant_order_no"].removeprefix("T200P"): (row["received_amount"], row["fee_amount"])
        for row in trades
        if row["business_type"] == "交易"
    }
    refunds = {
        taken.return_id: -taken.refund_amount
        for order in world.orders.values()
        if takes(order)
        for taken in order.returns
        if since <= taken.refunded_at < end
    }
    assert refunds
    assert refunds == {
        row["refund_request_no"]: row["received_amount"] for row in trades if row["business_type"] == "退款"
    }


def test_the_account_is_what_came_less_what_went(serve: Any, pull: Any, landed: Any) -> None:
    with serve("alipay", orders=300) as served:
        pull("alipay", {**served.env, "ORDERHUB_ALIPAY_SINCE": "2026-10-01T00:00:00+08:00"})
    entries = sorted(
        landed("account_entries"),
        key=lambda row: (row["happened_at"], row["_page_sha256"], row["_row_index"]),
    )
    balance = entries[0]["balance_amount"] - entries[0]["income_amount"] - entries[0]["expense_amount"]
    for row in entries:
        balance += row["income_amount"] + row["expense_amount"]
        assert balance == row["balance_amount"]
    assert {"在线支付", "收费", "交易退款", "提现"} == {row["entry_type"] for row in entries}


def test_a_bill_is_there_from_nine_the_next_morning() -> None:
    world = generate(7, 300)
    paid = max(order.paid_at for order in world.orders.values() if takes(order) and order.paid_at is not None)
    day = (paid + timedelta(hours=8)).date()
    nine = datetime(day.year, day.month, day.day, 1, tzinfo=UTC) + timedelta(days=1)
    for now, is_there in ((nine - timedelta(seconds=1), False), (nine, True)):
        twin = Twin(replace(world, now=now), Dirt(7, "alipay"), Credentials(7))
        assert (twin._bill("trade", day) is not None) is is_there


@pytest.mark.parametrize(
    ("content", "changes", "sub_code"),
    [
        ({"bill_type": "trade", "bill_date": "2026-10-31"}, {}, "isp.bill_not_exist"),
        ({"bill_type": "trade", "bill_date": "2020-01-01"}, {}, "isp.bill_not_exist"),
        ({"bill_type": "market", "bill_date": "2026-10-01"}, {}, "invalid_arguments"),
        ({"bill_type": "trade"}, {}, "invalid_arguments"),
        ({"bill_type": "trade", "bill_date": "2026-10-01"}, {"app_id": "1"}, "isv.invalid-app-id"),
        ({"bill_type": "trade", "bill_date": "2026-10-01"}, {"sign": "AAAA"}, "isv.invalid-signature"),
        ({"bill_type": "trade", "bill_date": "2026-10-01"}, {"sign": ""}, "isv.missing-signature"),
        ({"bill_type": "trade", "bill_date": "2026-10-01"}, {"method": "alipay.trade.query"}, "isv.invalid-method"),
    ],
)  # fmt: skip
def test_the_gateway_says_what_is_wrong(
    call: Callable[..., dict[str, Any]], content: dict[str, str], changes: dict[str, str], sub_code: str
) -> None:
    node = call(content, **changes)
    assert node["code"] != "10000"
    assert node["sub_code"] == sub_code


@pytest.mark.parametrize(
    ("node", "kind"),
    [
        ({"code": "40004", "msg": "Business Failed", "sub_code": "isp.bill_not_exist"}, None),
        ({"code": "10000", "msg": "Success"}, None),
        ({"code": "40002", "msg": "Invalid Arguments", "sub_code": "isv.invalid-signature"}, RefusedError),
        ({"code": "40005", "msg": "Call Limited", "sub_code": "isv.app-call-limited"}, ThrottledError),
    ],
)
def test_answers_that_are_no_success_are_faults(node: dict[str, str], kind: type[Exception] | None) -> None:
    found = fault({NODE: node})
    assert found is None if kind is None else isinstance(found, kind)
    assert kind is not RefusedError or "ORDERHUB_ALIPAY_PRIVATE_KEY" in str(found)


def test_a_key_of_somebody_else_is_refused_with_the_remedy(billed: Served, pull: Any) -> None:
    other = rsa.generate_private_key(65537, 2048)
    private = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = other.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    wrong = pull("alipay", {**billed.env, "ORDERHUB_ALIPAY_PRIVATE_KEY": private}, streams=["trades"])
    assert "isv.invalid-signature" in str(wrong["trades"].error)
    forged = pull("alipay", {**billed.env, "ORDERHUB_ALIPAY_PUBLIC_KEY": public.decode()}, streams=["trades"])
    assert "signature is not Alipay's" in str(forged["trades"].error)


def test_a_bill_is_fetched_from_where_the_answer_says() -> None:
    url = "http://dwbillcenter.alipay.com/downloadBillFile.resource?token=x"
    following = BillPages().after(Ask(), {NODE: {"code": "10000", "bill_download_url": url}}, 0, {})
    assert following == Ask(path=url.replace("http:", "https:"))
    assert BillPages().after(Ask(), {NODE: {"code": "40004"}}, 0, {}) is None
    assert BillPages().after(Ask(), {"rows": []}, 0, {}) is None


def test_a_day_is_asked_for_as_china_counts_it() -> None:
    bounds = Bounds(since=datetime(2026, 10, 30, 16, 30, tzinfo=UTC))
    assert json.loads(TRADES.ask(bounds).params["biz_content"]) == {
        "bill_type": "trade",
        "bill_date": "2026-10-31",
    }
    assert json.loads(ENTRIES.ask(bounds).params["biz_content"])["bill_type"] == "signcustomer"


def bill(text: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("2088_20261030_detail.csv", text.encode("gbk"))
    return content.getvalue()


BILL = """#支付宝业务明细查询
#账号：[20880000000000000156]
#起始日期：[2026年10月30日 00:00:00]   终止日期：[2026年10月31日 00:00:00]
#-----------------------------------------业务明细列表----------------------------------------
支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,订单金额（元）,商家实收（元）,退款批次号/请求号,服务费（元）,备注
2026103022001\t,T200P1\t,交易\t,面霜,2026-10-30 23:58:01,2026-10-30 23:59:59,10.00,10.00,\t,-0.06,
2026103022001\t,T200P1\t,退款\t,面霜,2026-10-30 23:58:01,2026-10-30 23:59:59,-4.00,-4.00,R1\t,0.00,
#-----------------------------------------业务明细列表结束------------------------------------
#交易合计：1笔，商家实收共10.00元，商家优惠共0.00元
#退款合计：1笔，商家实收退款共-4.00元，商家优惠退款共0.00元
#导出时间：[2026年10月31日 08:12:01]
"""


def test_a_bill_is_read_without_its_frame() -> None:
    paid, refunded = (TRADES.record.model_validate(row) for row in decode(bill(BILL))["rows"])
    assert paid.model_dump()["trade_no"] == "2026103022001"
    assert paid.model_dump()["completed_at"].astimezone(UTC) == datetime(2026, 10, 30, 15, 59, 59, tzinfo=UTC)
    assert (paid.model_dump()["fee_amount"], refunded.model_dump()["received_amount"]) == (
        Decimal("-0.06"),
        Decimal(-4),
    )
    assert (paid.model_dump()["refund_request_no"], refunded.model_dump()["refund_request_no"]) == ("", "R1")
    assert paid.model_dump()["bill_on"] == date(2026, 10, 30)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("交易合计：1笔", "交易合计：2笔", "交易合计 states 2 lines"),
        ("共-4.00元", "共-5.00元", "退款合计 states 1 lines of -5.00 yuan"),
        ("#-----------------------------------------业务明细列表结束------------------------------------\n", "", "cut off"),
        ("#支付宝业务明细查询", "#支付宝业务汇总查询", "no table of details"),
        (",-0.06,", ",", "a line of 10 cells"),
        ("#起始日期", "#开始", "no day"),
    ],
)  # fmt: skip
def test_a_bill_that_does_not_add_up_is_no_bill(old: str, new: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decode(bill(BILL.replace(old, new, 1)))


def test_a_notification_is_kept_and_leads_to_the_bills(serve: Any, landing: Landing) -> None:
    with serve("alipay", orders=150) as served:
        env = {
            **served.env,
            "ORDERHUB_ALIPAY_SINCE": (served.sandbox.world.now - timedelta(days=2)).isoformat(),
        }
        change = served.sandbox.changed("alipay", served.sandbox.world.now - timedelta(days=90))[-1]
        [sent] = served.sandbox.notifications("alipay", "https://hub.example/hooks/alipay", [change])
        receiver = Receiver(landing, sources(), env)
        told = [receiver.receive("alipay", Incoming({}, sent.body)) for _ in range(2)]
        assert [(one.outcome, one.reply) for one in told] == [("stored", "success"), ("repeated", "success")]
        forged = receiver.receive("alipay", Incoming({}, sent.body.replace(b"SUCCESS", b"CLOSED")))
        assert forged.outcome == "forged"
        results = follow(SOURCE, landing, env)
        assert {item.stream: item.error for item in results} == {"trades": None, "account_entries": None}
        assert waiting(landing) == []


@pytest.mark.parametrize(
    "text", ["", "no key", "AAAA", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
)
def test_what_is_no_key_is_said(text: str) -> None:
    for kind in ("private", "public"):
        with pytest.raises(ValueError, match=f"no RSA {kind} key"):
            read_rsa_key(text, kind)  # type: ignore[call-overload]
