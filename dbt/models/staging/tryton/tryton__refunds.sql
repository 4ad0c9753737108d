-- What posted credit notes give back of each sale. Tryton knows the day, not the hour.
with credits as (
    select
        *,
        -total_amount as amount,
        cast(invoice_on as {{ column_type('instant') }}) as refunded_at,
        case when is_shared then part else number end as refund
    from {{ ref('stg_tryton__sale_billing') }}
    where document_type = 'credit_note'
)

{{ conform('refunds', 'credits', {
    'source_key': 'part',
    'source_updated_at': 'modified_at',
    'refund_key': 'refund',
    'order_record_id': record_id('tryton', 'sales', 'sale_id'),
    'amount': 'amount',
    'currency': 'currency',
    'refunded_at': 'refunded_at',
}) }}
