-- A payment is no order: it names the order it pays, and says nothing else of it.
with payments as (
    select * from {{ ref('stg_alipay__trades') }}
    where business_type = '交易'
)

{{ conform('order_records', 'payments', {
    'source_key': 'trade_no',
    'source_updated_at': 'completed_at',
    'document_role': "'payment'",
    'currency': 'currency',
}) }}
