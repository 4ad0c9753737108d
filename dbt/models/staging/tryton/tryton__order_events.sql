-- A sale is paid once all its invoices are: at the instant at which the books wrote so of the last of them. Trade on account
-- is told to be paid by the books alone.
with paid as (
    select
        invoices.*,
        sales.id as sale_id,
        row_number() over (partition by sales.id order by invoices.modified_at desc, invoices.id desc) as place
    from {{ ref('stg_tryton__sales') }} as sales
    inner join {{ ref('stg_tryton__invoices') }} as invoices
        on invoices.sale_ids = '[' || cast(sales.id as {{ column_type('text') }}) || ']'
    where
        sales.state not in ('draft', 'quotation') and sales.invoice_state = 'paid'
        and invoices.type = 'out' and invoices.state = 'paid' and invoices.total_amount >= 0
),

settled as (
    select * from paid where place = 1
)

{{ conform('order_events', 'settled', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'order_record_id': record_id('tryton', 'sales', 'sale_id'),
    'event_key': 'coalesce(number, cast(id as ' ~ column_type('text') ~ '))',
    'event_type': "'payment_verified'",
    'occurred_at': 'modified_at',
    'recorded_at': 'modified_at',
    'occurred_at_offset_minutes': '0',
}) }}
