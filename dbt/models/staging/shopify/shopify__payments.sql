with taken as (
    select
        *,
        case when fee_currency is null or fee_currency = currency then fee_amount end as own_fee_amount,
        case
            when status = 'SUCCESS' and kind = 'AUTHORIZATION' then 'authorised'
            when status = 'SUCCESS' then 'captured'
            when status = 'PENDING' then 'pending'
            when status in ('FAILURE', 'ERROR') then 'failed'
        end as payment_status
    from {{ ref('stg_shopify__order_transactions') }}
    where kind in ('AUTHORIZATION', 'CAPTURE', 'SALE')
)

{{ conform('payments', 'taken', {
    'source_key': 'transaction_id',
    'payment_key': 'transaction_id',
    'order_record_id': record_id('shopify', 'orders', 'order_id'),
    'method': 'gateway',
    'amount': 'amount',
    'fee_amount': 'own_fee_amount',
    'currency': 'currency',
    'paid_at': "case when payment_status = 'captured' then processed_at end",
    'payment_status': 'payment_status',
}) }}
