-- Sales of tills, and the pickings that fulfil orders. What a till gave back hangs on its sale, and says nothing of its
-- money. A sale over the counter is over when it is paid; one that is shipped later waits for its delivery.
with delivered as (
    select
        deliveries.*,
        case
            when deliveries.state = 'cancel' then 'cancelled'
            when deliveries.state = 'done' and deliveries.picking_type_code = 'outgoing' then 'shipped'
            else 'processing'
        end as order_status,
        partners.name as partner_name,
        partners.street as partner_street,
        partners.city as partner_city,
        case
            when partners.state_name like '% (__)' then substr(partners.state_name, 1, length(partners.state_name) - 5)
            else partners.state_name
        end as partner_region,
        partners.zip as partner_zip,
        partners.country_iso2 as partner_country
    from {{ ref('stg_odoo__deliveries') }} as deliveries
    left join {{ ref('stg_odoo__partners') }} as partners
        on deliveries.partner_id = partners.id
),

-- Odoo writes a sale's name on each step of its delivery.
sent as (
    select
        origin,
        min(case when state = 'done' then 1 else 0 end) as is_done,
        max(case when picking_type_code = 'outgoing' then 1 else 0 end) as is_outgoing
    from {{ ref('stg_odoo__deliveries') }}
    where state <> 'cancel' and origin is not null
    group by origin
),

documents as (
    select
        id, modified_at, name as order_number, 'fulfilment' as document_role, order_status, partner_id, warehouse_id,
        deadline_at, partner_name, partner_street, partner_city, partner_region, partner_zip, partner_country,
        cast(null as {{ column_type('text') }}) as sale_type, cast(null as {{ column_type('text') }}) as store_code,
        cast(null as bigint) as store_id, cast(null as {{ column_type('text') }}) as label,
        cast(null as {{ column_type('instant') }}) as ordered_at, cast(null as {{ column_type('text') }}) as currency,
        cast(null as {{ column_type('amount') }}) as gross_amount,
        cast(null as {{ column_type('amount') }}) as discount_amount,
        cast(null as {{ column_type('amount') }}) as tax_amount, cast(null as {{ column_type('amount') }}) as net_amount,
        cast(null as {{ column_type('amount') }}) as paid_amount, _source, _stream, _batch_id, _page_sha256, _row_index,
        _extracted_at, _first_seen_at
    from delivered
    union all
    select
        id, modified_at, null, 'fulfilment', null, partner_id, null, null, null, null, null, null, null, null, null, null,
        null, null, null, null, null, null, null, null, null, _source, _stream, _batch_id, _page_sha256, _row_index,
        _extracted_at, _first_seen_at
    from {{ ref('stg_odoo__pos_sales') }}
    where is_return = 1
    union all
    -- Odoo puts blanks around the hyphen of a sale's name; payment providers take none.
    select
        sales.id, sales.modified_at,
        case when sales.name = '/' then sales.receipt_number else replace(sales.name, ' - ', '-') end, 'order',
        case
            when sales.state = 'cancel' then 'cancelled'
            when sales.state = 'draft' then 'open'
            when sales.shipping_on is null then 'closed'
            when sent.is_done = 1 and sent.is_outgoing = 1 then 'shipped'
            else 'processing'
        end,
        sales.partner_id, null, null, null, null, null, null, null, null, sales.sale_type, sales.warehouse_code,
        sales.warehouse_id, sales.label, sales.ordered_at, sales.currency, sales.gross_amount, sales.discount_amount,
        sales.tax_amount, sales.net_amount, sales.paid_amount, sales._source, sales._stream, sales._batch_id,
        sales._page_sha256, sales._row_index, sales._extracted_at, sales._first_seen_at
    from {{ ref('stg_odoo__pos_sales') }} as sales
    left join sent on sales.name = sent.origin
    where sales.is_return = 0
)

{{ conform('order_records', 'documents', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'order_number': 'order_number',
    'channel': "case when document_role = 'order' then 'pos' end",
    'store_code': 'store_code',
    'order_type': 'sale_type',
    'document_role': 'document_role',
    'is_test': "case when document_role = 'order' then coalesce(lower(label) like '%test%', false) end",
    'order_status': 'order_status',
    'customer_key': record_id('odoo', 'partners', 'partner_id'),
    'store_location_key': record_id('odoo', 'warehouses', 'store_id'),
    'fulfilment_location_key': record_id('odoo', 'warehouses', 'warehouse_id'),
    'ordered_at': 'ordered_at',
    'promised_at': 'deadline_at',
    'currency': 'currency',
    'gross_amount': 'gross_amount',
    'discount_amount': 'discount_amount',
    'shipping_amount': "case when document_role = 'order' then cast(0 as " ~ column_type('amount') ~ ') end',
    'tax_amount': 'tax_amount',
    'net_amount': 'net_amount',
    'paid_amount': 'paid_amount',
    'channel_fee_amount': "case when document_role = 'order' then cast(0 as " ~ column_type('amount') ~ ') end',
    'ship_to_name': 'partner_name',
    'ship_to_street': 'partner_street',
    'ship_to_city': 'partner_city',
    'ship_to_region': 'partner_region',
    'ship_to_postcode': 'partner_zip',
    'ship_to_country': 'partner_country',
}) }}
