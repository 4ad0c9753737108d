"""Seeds, counts and changes one company in a live Tryton through Tryton's own client, proteus, over HTTP.

Run by the Python of Tryton's own virtual environment, never by ours:

    python tryton_company.py URL seed|change|count|sales|bill|book REFERENCE < password

URL is the database's RPC address (`http://127.0.0.1:8000/erp/rpc/`); the password of `admin` comes on standard input.
Each command prints one JSON object.
"""

import datetime
import json
import sys
from decimal import Decimal

from proteus import Model, Wizard, config
from trytond.modules.account.tests.tools import create_chart, create_fiscalyear, create_tax, get_accounts
from trytond.modules.account_invoice.tests.tools import create_payment_term, set_fiscalyear_invoice_sequences
from trytond.modules.company.tests.tools import create_company

COUNTRIES = {"CN": "China", "DE": "Germany", "GB": "United Kingdom"}

# name, language-free data only: e-mail, phone, street, city, postcode, country, identifier (type, code)
PARTIES = [
    ("Dunder Mifflin", "office@dunder.example", None, "1725 Slough Avenue", "Slough", "SL1 4DX", "GB", None),
    ("王小明", "wang.xm@mail.example", "+86 138 0013 8000", "南京东路100号", "上海", "200001", "CN", None),
    (
        "上海花容化妆品有限公司",
        "dinggou@huarong.example",
        "+86 21 6321 0000",
        "淮海中路９９号",
        "上海",
        "200020",
        "CN",
        ("cn_ric", "120103198806018241"),
    ),
    (
        "Müller & Söhne GmbH",
        "einkauf@mueller.example",
        "+49 30 901820",
        "Unter den Linden 5",
        "Berlin",
        "10117",
        "DE",
        ("eu_vat", "DE136695976"),
    ),
    ("李娜", None, "13900139000", None, None, None, None, None),
]

# code, name, list price, cost price, unit, GTIN
PRODUCTS = [
    ("LIP-001", "玫瑰口红 Rose Lipstick", "25.00", "6.1234", "Unit", "6901234567892"),
    ("CRM-050", "Night cream 50 ml", "48.5000", "11.5", "Unit", "4006381333931"),
    ("TEA-KG", "龙井茶 Longjing tea", "120.00", "70.00", "Kilogram", None),
]

# party index, [(product code, quantity)], shipped by a carrier at the buyer's cost, the state to stop in
SALES = [
    (1, [("LIP-001", 2.0), ("CRM-050", 1.0)], True, "done"),
    (2, [("LIP-001", 120.0), ("CRM-050", 36.0), ("TEA-KG", 2.5)], False, "done"),
    (3, [("CRM-050", 10.0)], True, "packed"),
    (3, [("LIP-001", 3.0)], False, "waiting"),
    (4, [("TEA-KG", 0.25)], False, "quotation"),
    (4, [("TEA-KG", 1.0)], False, "draft"),
    (1, [("LIP-001", 1.0), ("CRM-050", -1.0)], False, "waiting"),
    (2, [("CRM-050", 5.0)], False, "cancelled"),
]

COUNTED = (
    "party.party",
    "party.address",
    "party.contact_mechanism",
    "party.identifier",
    "product.template",
    "product.product",
    "product.identifier",
    "sale.sale",
    "sale.line",
    "stock.move",
    "stock.shipment.out",
    "stock.shipment.out.return",
    "stock.location",
    "account.invoice",
    "account.invoice.line",
)


def seed() -> dict[str, int]:
    """Set up the company, its books, catalogue, stock, customers and sales in an empty database."""
    countries = {code: _saved("country.country", code=code, name=name) for code, name in COUNTRIES.items()}
    parties = [_party(countries, *row) for row in PARTIES]
    create_company(party=parties[0], currency="EUR")
    create_chart()
    fiscalyear = set_fiscalyear_invoice_sequences(create_fiscalyear())
    fiscalyear.click("create_period")
    tax = create_tax(Decimal(".19"))
    tax.save()
    accounts = get_accounts()
    category = Model.get("product.category")(name="Goods", accounting=True)
    category.account_expense = accounts["expense"]
    category.account_revenue = accounts["revenue"]
    category.customer_taxes.append(tax)
    category.save()
    create_payment_term().save()
    products = {row[0]: _product(category, *row) for row in PRODUCTS}
    _carrier(category)
    _stock(list(products.values()), 1000.0)
    for customer, lines, carried, state in SALES:
        _sale(parties[customer], [(products[code], quantity) for code, quantity in lines], carried, state)
    return count()


def change() -> dict[str, object]:
    """Edit one party, add one sale and ship one packed shipment.

    Answers the number of the new sale, and by model the ids whose versions differ from before.
    """
    before = _versions()
    Party, Product = Model.get("party.party"), Model.get("product.product")
    (party,) = Party.find([("name", "=", "王小明")])
    party.name = "王小明（VIP）"
    party.save()
    (buyer,) = Party.find([("name", "=", "李娜")])
    (product,) = Product.find([("code", "=", "LIP-001")])
    sale = _sale(buyer, [(product, 4.0)], False, "waiting")
    (shipment,) = Model.get("stock.shipment.out").find([("state", "=", "packed")], limit=1)
    shipment.click("do")
    touched = {
        model: sorted(record for record, version in versions.items() if before[model].get(record) != version)
        for model, versions in _versions().items()
    }
    return {"sale_number": sale.number, "touched": touched}


def count() -> dict[str, int]:
    """Records per model, inactive ones included, as Tryton itself counts them."""
    return {model: len(versions) for model, versions in _versions().items()}


def sales() -> list[dict[str, str | None]]:
    """Every sale with its money as texts."""
    return [
        {
            "number": sale.number,
            "state": sale.state,
            "currency": sale.currency.code,
            "untaxed_amount": str(sale.untaxed_amount),
            "tax_amount": str(sale.tax_amount),
            "party": sale.party.name,
        }
        for sale in Model.get("sale.sale").find([])
    ]


def bill() -> dict[str, list[str]]:
    """Bill two sales of one buyer on one invoice, lines moved from one draft to the other, and credit it by the wizard.

    Answers the numbers of the sales, and of the invoice and its credit note.
    """
    (buyer,) = Model.get("party.party").find([("name", "=", "Müller & Söhne GmbH")])
    products = {product.code: product for product in Model.get("product.product").find([])}
    sold = [
        _sale(buyer, [(products["LIP-001"], 2.0)], False, "waiting", "PO-one"),
        _sale(buyer, [(products["CRM-050"], 3.0)], True, "waiting", "PO-other"),
    ]
    invoice, other = (sale.invoices[0] for sale in sold)
    for line in other.lines:
        line.invoice = invoice
        line.save()
    other.reload()
    other.delete()
    invoice.reload()
    invoice.click("post")
    wizard = Wizard("account.invoice.credit", [invoice])
    wizard.form.with_refund = False
    wizard.execute("credit")
    (credit,) = wizard.actions[0]
    credit.click("post")
    return {"sales": [sale.number for sale in sold], "documents": [invoice.number, credit.number]}


def book(reference: str) -> str:
    """Enter a sale of one night cream to the buyer whom the web shop knows, too; its number."""
    (mail,) = Model.get("party.contact_mechanism").find([("value", "=", "wang.xm@mail.example")])
    (product,) = Model.get("product.product").find([("code", "=", "CRM-050")])
    return _sale(mail.party, [(product, 1.0)], False, "waiting", reference).number


def _versions() -> dict[str, dict[int, str]]:
    """By model and id, when each record was made and last written."""
    found = {}
    for name in COUNTED:
        model = Model.get(name)
        domain = [("active", "in", [True, False])] if "active" in model._fields else []
        found[name] = {
            record.id: f"{record.create_date} {record.write_date}" for record in model.find(domain)
        }
    return found


def _saved(model: str, **values: object) -> Model:
    record = Model.get(model)(**values)
    record.save()
    return record


def _party(countries, name, email, phone, street, city, postcode, country, identifier):
    party = Model.get("party.party")(name=name)
    address = party.addresses[0] if party.addresses else party.addresses.new()
    if street:
        address.street_unstructured, address.city, address.postal_code = street, city, postcode
        address.country = countries[country]
    for kind, value in (("email", email), ("phone", phone)):
        if value:
            party.contact_mechanisms.new(type=kind, value=value)
    if country == "DE":
        (party.lang,) = Model.get("ir.lang").find([("code", "=", "de")])
    if identifier:
        party.identifiers.new(type=identifier[0], code=identifier[1])
    party.save()
    return party


def _product(category, code, name, list_price, cost_price, unit, gtin):
    (uom,) = Model.get("product.uom").find([("name", "=", unit)])
    template = Model.get("product.template")(name=name, type="goods", salable=True)
    template.default_uom = uom
    template.list_price = Decimal(list_price)
    template.account_category = category
    (product,) = template.products
    product.suffix_code = code
    product.cost_price = Decimal(cost_price)
    if gtin:
        product.identifiers.new(type="ean", code=gtin)
    template.save()
    (product,) = template.products
    return product


def _carrier(category):
    (unit,) = Model.get("product.uom").find([("name", "=", "Unit")])
    template = Model.get("product.template")(name="Parcel", type="service", salable=True, default_uom=unit)
    template.list_price, template.account_category = Decimal("4.90"), category
    template.save()
    (product,) = template.products
    _saved("carrier", party=_saved("party.party", name="顺丰速运 SF Express"), carrier_product=product)


def _stock(products, quantity):
    (storage,) = Model.get("stock.location").find([("code", "=", "STO")])
    inventory = Model.get("stock.inventory")(location=storage)
    for product in products:
        line = inventory.lines.new(product=product)
        line.quantity, line.expected_quantity = quantity, 0.0
    inventory.click("confirm")


def _sale(party, lines, carried, state, reference=None):
    """A sale with its lines, walked to `state`: draft, quotation, cancelled, or its shipment waiting, packed, done."""
    (term,) = Model.get("account.invoice.payment_term").find([], limit=1)
    sale = Model.get("sale.sale")(party=party, payment_term=term, sale_date=datetime.date.today())
    sale.reference = reference or f"PO-{party.id}-{len(lines)}"
    for product, quantity in lines:
        line = sale.lines.new()
        line.product = product  # set on a line that knows its sale, so that price and taxes follow
        line.quantity = quantity
    sale.shipment_cost_method = "order" if carried else None
    if carried:
        (sale.carrier,) = Model.get("carrier").find([])
    sale.save()
    if state == "cancelled":
        sale.click("cancel")
    elif state != "draft":
        sale.click("quote")
    if state not in ("draft", "quotation", "cancelled"):
        sale.click("confirm")
        if sale.state == "confirmed":
            sale.click("process")
    if state in ("packed", "done"):
        (shipment,) = sale.shipments
        shipment.click("assign_try")
        shipment.click("pick")
        shipment.click("pack")
        if state == "done":
            shipment.click("do")
            for invoice in sale.invoices:
                invoice.click("post")
    sale.reload()
    return sale


if __name__ == "__main__":
    # A session: with the password in the address Tryton would hash it anew (slow by design) at every call.
    with config.set_xmlrpc_session(sys.argv[1], "admin", sys.stdin.read()):
        commands = {
            "seed": seed,
            "change": change,
            "count": count,
            "sales": sales,
            "bill": bill,
            "book": book,
        }
        print(json.dumps(commands[sys.argv[2]](*sys.argv[3:])))
