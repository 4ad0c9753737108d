{{ config(schema='intermediate') }}
-- Which record's value survives for each attribute group of an order. Money and identity come from order documents
-- only; the address and the service level may come from what hangs on the order (picking, shipment). A document of part of
-- an order, or of several, cannot answer for what the order amounts to.
{% set is_order = "document_role = 'order' and not is_shared" -%}
{%- set is_whole = is_order ~ ' and not is_part' -%}
{%- set units = {
    'order_number': {'anchor': 'order_number', 'where': is_whole,
        'attributes': {'order_number': ('order_number', 'text')}},
    'channel': {'anchor': 'channel', 'where': is_order,
        'attributes': {'channel': ('channel', 'text')}},
    'order_type': {'anchor': 'order_type', 'where': is_order,
        'attributes': {'order_type': ('order_type', 'text')}},
    'store': {'anchor': 'store_code', 'where': is_order,
        'attributes': {'store_code': ('store_code', 'text')}},
    'customer': {'anchor': 'customer_id', 'where': is_order,
        'attributes': {'customer_id': ('customer_id', 'text')}},
    'bill_to': {'anchor': 'bill_to_party_id', 'where': is_order,
        'attributes': {'bill_to_party_id': ('bill_to_party_id', 'text')}},
    'status': {'anchor': 'order_status', 'where': is_order,
        'attributes': {'record_status': ('order_status', 'text')}},
    'ordered': {'anchor': 'ordered_at', 'where': is_order,
        'attributes': {'record_ordered_at': ('ordered_at', 'instant')}},
    'promise': {'anchor': 'promised_at',
        'attributes': {'promised_at': ('promised_at', 'instant')}},
    'money': {'anchor': 'coalesce(net_amount, gross_amount)', 'where': is_whole,
        'attributes': {
            'currency': ('currency', 'text'), 'gross_amount': ('gross_amount', 'amount'),
            'discount_amount': ('discount_amount', 'amount'), 'shipping_amount': ('shipping_amount', 'amount'),
            'tax_amount': ('tax_amount', 'amount'), 'duty_amount': ('duty_amount', 'amount'),
            'net_amount': ('net_amount', 'amount')}},
    'paid': {'anchor': 'paid_amount', 'where': is_whole,
        'attributes': {'record_paid_amount': ('paid_amount', 'amount'), 'paid_currency': ('currency', 'text')}},
    'refunded': {'anchor': 'refunded_amount', 'where': is_whole,
        'attributes': {'record_refunded_amount': ('refunded_amount', 'amount'),
                       'refunded_currency': ('currency', 'text')}},
    'channel_fee': {'anchor': 'channel_fee_amount', 'where': is_whole,
        'attributes': {'record_channel_fee_amount': ('channel_fee_amount', 'amount'),
                       'channel_fee_currency': ('currency', 'text')}},
    'payment_fee': {'anchor': 'payment_fee_amount', 'where': is_whole,
        'attributes': {'record_payment_fee_amount': ('payment_fee_amount', 'amount'),
                       'payment_fee_currency': ('currency', 'text')}},
    'cogs': {'anchor': 'whole_cogs_amount', 'where': is_order,
        'attributes': {'record_cogs_amount': ('whole_cogs_amount', 'amount'), 'cogs_currency': ('currency', 'text')}},
    'logistics_cost': {'anchor': 'logistics_cost_amount', 'where': is_whole,
        'attributes': {'record_logistics_cost_amount': ('logistics_cost_amount', 'amount'),
                       'logistics_cost_currency': ('currency', 'text')}},
    'lines': {'anchor': 'line_count', 'where': is_whole, 'attributes': {}},
    'address': {'anchor': 'coalesce(ship_to_country, ship_to_postcode, ship_to_city)',
        'attributes': {
            'ship_to_country': ('ship_to_country', 'text'), 'ship_to_region': ('ship_to_region', 'text'),
            'ship_to_city': ('ship_to_city', 'text'), 'ship_to_postcode': ('ship_to_postcode', 'text')}},
    'service_level': {'anchor': 'service_level',
        'attributes': {'record_service_level': ('service_level', 'text')}},
} -%}
{{ survive(ref('int_order_records_linked'), 'order_id', 'order', units) }}
