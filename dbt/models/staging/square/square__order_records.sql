-- The company sells in its own stores: no channel takes a share.
with lines as (
    select distinct order_id from {{ ref('stg_square__order_line_items') }}
),

returns as (
    select distinct order_id from {{ ref('stg_square__order_returns') }}
),

fees as (
    select
        payments.order_id,
        sum(fees.amount) as fee_amount
    from {{ ref('stg_square__payment_fees') }} as fees
    inner join {{ ref('stg_square__payments') }} as payments
        on fees.payment_id = payments.payment_id and fees.currency = payments.currency
    group by payments.order_id
),

paid as (
    select
        order_id,
        sum(case when status = 'COMPLETED' then total_amount end) as paid_amount,
        sum(case when status = 'COMPLETED' then coalesce(refunded_amount, 0) end) as refunded_amount
    from {{ ref('stg_square__payments') }}
    group by order_id
),

-- A return without lines is no sale: it hangs on the sale it names, and says nothing of its money.
documents as (
    select
        orders.*,
        case when returns.order_id is not null and lines.order_id is null then 1 else 0 end as is_return,
        case when returns.order_id is not null then 'exchange' else 'pos' end as sale_type,
        total_amount - coalesce(tax_amount, 0) - coalesce(tip_amount, 0) as net_amount,
        paid.paid_amount,
        paid.refunded_amount,
        fees.fee_amount,
        case state when 'CANCELED' then 'cancelled' when 'COMPLETED' then 'closed' when 'OPEN' then 'open' end
            as canonical_status
    from {{ ref('stg_square__orders') }} as orders
    left join lines on orders.order_id = lines.order_id
    left join returns on orders.order_id = returns.order_id
    left join paid on orders.order_id = paid.order_id
    left join fees on orders.order_id = fees.order_id
),

sales as (
    select
        *,
        net_amount + coalesce(discount_amount, 0) - coalesce(service_charge_amount, 0) as gross_amount
    from documents
)

{{ conform('order_records', 'sales', {
    'source_key': 'order_id',
    'source_updated_at': 'updated_at',
    'order_number': 'case when is_return = 0 then coalesce(reference_id, order_id) end',
    'channel': "case when is_return = 0 then 'pos' end",
    'store_code': 'case when is_return = 0 then location_id end',
    'order_type': 'case when is_return = 0 then sale_type end',
    'document_role': "case when is_return = 0 then 'order' else 'fulfilment' end",
    'is_test': "case when is_return = 0 then coalesce(lower(ticket_name) like '%test%', false) end",
    'order_status': 'case when is_return = 0 then canonical_status end',
    'customer_key': record_id('square', 'customers', 'customer_id'),
    'store_location_key': 'case when is_return = 0 then ' ~ record_id('square', 'locations', 'location_id') ~ ' end',
    'ordered_at': 'case when is_return = 0 then created_at end',
    'currency': 'case when is_return = 0 then currency end',
    'gross_amount': 'case when is_return = 0 then gross_amount end',
    'discount_amount': 'case when is_return = 0 then discount_amount end',
    'shipping_amount': 'case when is_return = 0 then service_charge_amount end',
    'tax_amount': 'case when is_return = 0 then tax_amount end',
    'net_amount': 'case when is_return = 0 then net_amount end',
    'paid_amount': 'case when is_return = 0 then paid_amount end',
    'refunded_amount': 'case when is_return = 0 then refunded_amount end',
    'channel_fee_amount': 'case when is_return = 0 then cast(0 as ' ~ column_type('amount') ~ ') end',
    'payment_fee_amount': 'case when is_return = 0 then fee_amount end',
    'ship_to_name': 'ship_to_name',
    'ship_to_street': 'ship_to_street',
    'ship_to_city': 'ship_to_city',
    'ship_to_region': 'ship_to_region',
    'ship_to_postcode': 'ship_to_postcode',
    'ship_to_country': 'ship_to_country_iso2',
}) }}
