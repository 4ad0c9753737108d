with given_back as (
    select *
    from {{ ref('stg_odoo__pos_takings') }}
    where taken_amount < 0 and coalesce(order_state, 'done') in ('paid', 'done') and coalesce(payment_status, 'done') = 'done'
)

{{ conform('refunds', 'given_back', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'refund_key': 'id',
    'order_record_id': record_id('odoo', 'pos_orders', 'sale_id'),
    'amount': '-taken_amount',
    'currency': 'currency',
    'refunded_at': 'paid_at',
}) }}
