-- Posted credit notes of one sale. Tryton knows the day, not the hour.
with credits as (
    select
        invoices.*,
        sales.id as sale_id,
        -invoices.total_amount as amount,
        cast(invoices.invoice_on as {{ column_type('instant') }}) as refunded_at
    from {{ ref('stg_tryton__invoices') }} as invoices
    inner join {{ ref('stg_tryton__sales') }} as sales
        on invoices.sale_ids = '[' || cast(sales.id as {{ column_type('text') }}) || ']'
        and sales.state not in ('draft', 'quotation')
    where invoices.type = 'out' and invoices.state in ('posted', 'paid') and invoices.total_amount < 0
)

{{ conform('refunds', 'credits', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'refund_key': 'number',
    'order_record_id': record_id('tryton', 'sales', 'sale_id'),
    'amount': 'amount',
    'currency': 'currency',
    'refunded_at': 'refunded_at',
}) }}
