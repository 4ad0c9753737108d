with fees as (
    select payment_id, currency, sum(amount) as fee_amount
    from {{ ref('stg_square__payment_fees') }}
    group by payment_id, currency
),

taken as (
    select
        payments.*,
        fees.fee_amount,
        lower(coalesce(payments.wallet_brand, payments.source_type)) as method,
        case payments.status
            when 'COMPLETED' then 'captured' when 'APPROVED' then 'authorised' when 'PENDING' then 'pending'
            when 'CANCELED' then 'cancelled' when 'FAILED' then 'failed'
        end as payment_status
    from {{ ref('stg_square__payments') }} as payments
    left join fees on payments.payment_id = fees.payment_id and payments.currency = fees.currency
)

{{ conform('payments', 'taken', {
    'source_key': 'payment_id',
    'source_updated_at': 'updated_at',
    'payment_key': 'payment_id',
    'order_record_id': record_id('square', 'orders', 'order_id'),
    'method': 'method',
    'amount': 'total_amount',
    'fee_amount': 'fee_amount',
    'currency': 'currency',
    'paid_at': "case when status = 'COMPLETED' then created_at end",
    'payment_status': 'payment_status',
}) }}
