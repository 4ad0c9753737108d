-- What posted credit memos give back of each sales order. SAP tells the day, not the hour.
with credits as (
    select
        *,
        -total_amount as amount,
        cast(billed_on as {{ column_type('instant') }}) as refunded_at
    from {{ ref('stg_sap_s4__order_billing') }}
    where document_type = 'credit_note'
)

{{ conform('refunds', 'credits', {
    'source_key': 'part',
    'source_updated_at': 'changed_at',
    'refund_key': 'part',
    'order_record_id': record_id('sap_s4', 'sales_orders', 'sales_order'),
    'amount': 'amount',
    'currency': 'currency',
    'refunded_at': 'refunded_at',
}) }}
