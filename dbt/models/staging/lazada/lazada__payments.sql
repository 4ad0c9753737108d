with paid as (
    select
        orders.*,
        sums.currency,
        sums.paid_at,
        sums.paid_amount + orders.shipping_amount as amount
    from {{ ref('stg_lazada__orders') }} as orders
    inner join {{ ref('stg_lazada__order_sums') }} as sums
        on orders.order_id = sums.order_id and sums.currency_count = 1
    where sums.paid_at is not null
)

{{ conform('payments', 'paid', {
    'source_key': 'order_id',
    'source_updated_at': 'updated_at',
    'payment_key': 'order_id',
    'order_record_id': record_id('lazada', 'orders', 'order_id'),
    'method': "'marketplace'",
    'amount': 'amount',
    'currency': 'currency',
    'paid_at': 'paid_at',
    'payment_status': "'captured'",
}) }}
