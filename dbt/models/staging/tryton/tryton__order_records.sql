-- Prices in Tryton are what the customer pays: the list price and the discount are not known here. The cost of goods
-- is known once all of them have left, if the books are kept in the currency of the sale.
with freight as (
    select
        sale_id,
        sum(case when shipment_cost is not null then amount else cast(0 as {{ column_type('amount') }}) end) as amount
    from {{ ref('stg_tryton__sale_lines') }}
    where type = 'line'
    group by sale_id
),

costs as (
    select
        sale_id,
        case when count(cost_price) = count(*) then sum(quantity * cost_price) end as amount
    from {{ ref('stg_tryton__sale_moves') }}
    where state = 'done' and to_location_type = 'customer'
    group by sale_id
),

sales as (
    select
        sales.*,
        case
            when sales.state = 'cancelled' then 'cancelled'
            when sales.state = 'done' then 'closed'
            when sales.shipment_state = 'sent' then 'shipped'
            when sales.state = 'processing' then 'processing'
            else 'open'
        end as order_status,
        case
            when sales.untaxed_amount < 0 then 'return'
            when parties.tax_code is not null then 'b2b'
        end as order_type,
        coalesce(sales.shipment_party_id, sales.party_id) as customer_id,
        coalesce(sales.invoice_party_id, sales.party_id) as bill_to_id,
        freight.amount as shipping_amount,
        case when sales.invoice_state = 'paid' then sales.total_amount end as paid_amount,
        case
            when sales.shipment_state = 'sent' and companies.currency = sales.currency then costs.amount
        end as cogs_amount,
        coalesce(addresses.party_name, parties.name) as ship_to_name,
        addresses.street,
        addresses.city,
        addresses.region,
        addresses.postal_code,
        addresses.country_iso2
    from {{ ref('stg_tryton__sales') }} as sales
    left join {{ ref('stg_tryton__parties') }} as parties
        on sales.party_id = parties.id
    left join {{ ref('stg_tryton__companies') }} as companies
        on sales.company_id = companies.id
    left join {{ ref('stg_tryton__addresses') }} as addresses
        on sales.shipment_address_id = addresses.id
    left join freight
        on sales.id = freight.sale_id
    left join costs
        on sales.id = costs.sale_id
    where sales.state not in ('draft', 'quotation')
)

{{ conform('order_records', 'sales', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'order_number': 'number',
    'channel': "'direct'",
    'order_type': 'order_type',
    'document_role': "'order'",
    'order_status': 'order_status',
    'customer_key': record_id('tryton', 'parties', 'customer_id'),
    'bill_to_key': record_id('tryton', 'parties', 'bill_to_id'),
    'fulfilment_location_key': record_id('tryton', 'locations', 'warehouse_id'),
    'ordered_at': 'created_at',
    'currency': 'currency',
    'shipping_amount': 'shipping_amount',
    'tax_amount': 'tax_amount',
    'net_amount': 'untaxed_amount',
    'paid_amount': 'paid_amount',
    'cogs_amount': 'cogs_amount',
    'ship_to_name': 'ship_to_name',
    'ship_to_street': 'street',
    'ship_to_city': 'city',
    'ship_to_region': 'region',
    'ship_to_postcode': 'postal_code',
    'ship_to_country': 'country_iso2',
}) }}

union all

{{ conform_shared_invoices(ref('stg_tryton__sale_billing'), 'id', 'number', 'modified_at') }}
