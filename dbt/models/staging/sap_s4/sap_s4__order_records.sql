-- Prices are what the customer pays, without tax; the tax is known once the order is billed. A rejected order has no total
-- left in its header: what was ordered is the sum of its items and of its freight. Where more or less was billed than
-- ordered, nobody knows the tax of what was ordered.
with goods as (
    select
        items.sales_order,
        sum(items.net_amount) as amount,
        case when count(costs.cost_amount) = count(*) then sum(costs.cost_amount) end as cost_amount,
        min(items.plant) as plant,
        count(distinct items.plant) as plant_count
    from {{ ref('stg_sap_s4__sales_order_items') }} as items
    left join {{ ref('stg_sap_s4__item_costs') }} as costs
        on items.sales_order = costs.sales_order and items.item = costs.item
    group by items.sales_order
),

freight as (
    select
        sales_order,
        sum(amount) as amount
    from {{ ref('stg_sap_s4__sales_order_conditions') }}
    where condition_type = 'HD00'
    group by sales_order
),

taxes as (
    select
        sales_order,
        sum(tax_amount) as amount,
        sum(net_amount) as net_amount
    from {{ ref('stg_sap_s4__order_billing') }}
    where document_type = 'invoice'
    group by sales_order
),

orders as (
    select
        orders.*,
        case
            when orders.rejection_status = 'C' then 'cancelled'
            when orders.process_status = 'C' then 'closed'
            when orders.delivery_status = 'C' then 'shipped'
            when orders.delivery_status = 'B' then 'processing'
            else 'open'
        end as order_status,
        case when orders.sales_order_type = 'RE' then 'return' when partners.category = '2' then 'b2b' end as order_type,
        case when partners.category <> '3' then orders.sold_to_party end as customer,
        coalesce(freight.amount, cast(0 as {{ column_type('amount') }})) as shipping_amount,
        case
            when orders.rejection_status = 'C' then goods.amount + coalesce(freight.amount, cast(0 as {{ column_type('amount') }}))
            else orders.net_amount
        end as booked_amount,
        case when orders.delivery_status = 'C' then goods.cost_amount end as cogs_amount,
        case when taxes.net_amount = orders.net_amount then taxes.amount end as tax_amount,
        case when goods.plant_count = 1 then goods.plant end as plant
    from {{ ref('stg_sap_s4__sales_orders') }} as orders
    left join {{ ref('stg_sap_s4__partners') }} as partners
        on orders.sold_to_party = partners.partner
    left join goods
        on orders.sales_order = goods.sales_order
    left join freight
        on orders.sales_order = freight.sales_order
    left join taxes
        on orders.sales_order = taxes.sales_order
)

{{ conform('order_records', 'orders', {
    'source_key': 'sales_order',
    'source_updated_at': 'changed_at',
    'order_number': 'sales_order',
    'channel': "'direct'",
    'order_type': 'order_type',
    'document_role': "'order'",
    'order_status': 'order_status',
    'customer_key': record_id('sap_s4', 'partners', 'customer'),
    'fulfilment_location_key': record_id('sap_s4', 'plants', 'plant'),
    'ordered_at': 'created_at',
    'promised_at': 'cast(requested_on as ' ~ column_type('instant') ~ ')',
    'currency': 'currency',
    'shipping_amount': 'shipping_amount',
    'tax_amount': 'tax_amount',
    'net_amount': 'booked_amount',
    'cogs_amount': 'cogs_amount',
}) }}

union all

{{ conform_shared_invoices(ref('stg_sap_s4__order_billing'), 'billing_document', 'billing_document', 'changed_at') }}
