"""Files that people and systems drop into an inbox: CSV, XLSX and Parquet exports with a declared column mapping.

The mappings here are for exports we know; a file `<name>.mapping.toml` in the inbox declares another one with the same
fields (see `connectors.declare.Export`).
"""

from datetime import timedelta

from connectors.declare import (
    Amount,
    ControlTotal,
    Country,
    Currency,
    Export,
    Field,
    Instant,
    Kind,
    Quantity,
    Record,
    Source,
    Stream,
)


class OrderLine(Record):
    """One line of an exported order document."""

    export_name: str = Field(description="Which mapping read the file")
    file_name: str = Field(description="File as dropped")
    document_type: str = Field(description="order or return", pattern="^(order|return)$")
    order_number: str = Field(description="Order or invoice number as printed", min_length=1)
    line_number: int = Field(description="Row in the file, from 0", ge=0)
    ordered_at: Instant = Field(description="When the document was made")
    sku_code: str = Field(description="Item code as printed", min_length=1)
    description: str | None = Field(default=None, description="Item text as printed")
    qty: Quantity = Field(description="Quantity; negative on returns and stock adjustments")
    uom: str = Field(default="C62", description="UN/ECE Rec 20 unit; each by default")
    unit_price_amount: Amount = Field(description="Price of one unit, tax excluded")
    discount_amount: Amount | None = Field(default=None, description="Discount on the line")
    tax_amount: Amount | None = Field(default=None, description="Tax on the line, where the file has it")
    net_amount: Amount = Field(description="qty x unit price - discount")
    currency: Currency = Field(description="ISO 4217")
    customer_code: str | None = Field(default=None, description="Customer's code in the exporting system")
    customer_name: str | None = None
    customer_email: str | None = None
    customer_country: Country | None = None
    channel: str | None = None
    store_code: str | None = None


SOURCE = Source(
    name="file_drop",
    title="File drop",
    kind=Kind.FILE,
    owner="data-platform",
    unheard="Files are dropped; the inbox calls nobody.",
    streams=(
        Stream(
            name="order_lines",
            kept="Who takes a file away takes nothing back; an order that is exported again replaces itself.",
            record=OrderLine,
            key=("export_name", "file_name", "line_number"),
            path="",
            document=("export_name", "order_number"),
            control_totals=(ControlTotal(amount="net_amount", currency="currency"),),
            freshness=timedelta(days=31),
            description="Order lines from exported files, one row per line of a file",
        ),
    ),
    exports=(
        Export(
            name="online_retail",
            files="online_retail*.parquet",
            columns={
                "order_number": "Invoice",
                "sku_code": "StockCode",
                "description": "Description",
                "qty": "Quantity",
                "ordered_at": "InvoiceDate",
                "unit_price_amount": "Price",
                "customer_code": "Customer ID",
                "customer_country": "Country",
            },
            constants={"currency": "GBP", "channel": "online_retail"},
            timezone="Europe/London",
            return_prefix="C",
            is_signed=True,
        ),
        Export(
            name="dealer_csv",
            files="dealer_*.csv",
            columns={
                "order_number": "Order No.",
                "ordered_at": "Order Date",
                "sku_code": "Item Code",
                "description": "Item",
                "qty": "Qty",
                "unit_price_amount": "Unit Price",
                "discount_amount": "Discount",
                "currency": "Currency",
                "customer_code": "Dealer Code",
                "customer_name": "Dealer Name",
                "customer_email": "E-mail",
                "customer_country": "Country",
            },
            constants={"channel": "dealer"},
            date_formats=("%d/%m/%Y %H:%M", "%d/%m/%Y"),
        ),
        Export(
            name="dealer_xlsx",
            files="dealer_*.xlsx",
            columns={
                "order_number": "订单号",
                "ordered_at": "下单时间",
                "sku_code": "商品编码",
                "description": "商品名称",
                "qty": "数量",
                "unit_price_amount": "单价",
                "discount_amount": "折扣",
                "currency": "币种",
                "customer_code": "经销商编码",
                "customer_name": "经销商名称",
                "customer_country": "国家",
            },
            constants={"channel": "dealer"},
            timezone="Asia/Shanghai",
            date_formats=("%Y/%m/%d %H:%M", "%Y年%m月%d日 %H:%M"),
        ),
        Export(
            name="dealer_parquet",
            files="dealer_*.parquet",
            columns={
                "order_number": "order_number",
                "ordered_at": "ordered_at",
                "sku_code": "sku_code",
                "description": "description",
                "qty": "quantity",
                "unit_price_amount": "unit_price",
                "discount_amount": "discount",
                "currency": "currency",
                "customer_code": "dealer_code",
                "customer_name": "dealer_name",
                "customer_email": "email",
                "customer_country": "country",
            },
            constants={"channel": "dealer"},
        ),
    ),
)
