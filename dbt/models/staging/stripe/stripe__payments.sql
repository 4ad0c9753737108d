-- The fee is booked in the currency of the balance; where that is another, Stripe's own rate turns it back.
with taken as (
    select
        charges.*,
        coalesce(charges.amount_captured, charges.amount) as paid_amount,
        case
            when moved.currency = charges.currency then moved.fee
            when moved.exchange_rate > 0 then {{ half_even_ratio(
                'cast(moved.fee * 10000 as bigint) * 1000000', 'cast(moved.exchange_rate * 1000000 as bigint)', '0.0001', 5,
                'amount'
            ) }}
        end as fee_amount,
        case
            when charges.status = 'failed' then 'failed'
            when charges.status = 'pending' then 'pending'
            when charges.is_captured = false then 'authorised'
            when charges.is_refunded then 'refunded'
            else 'captured'
        end as payment_status
    from {{ ref('stg_stripe__charges') }} as charges
    left join {{ ref('stg_stripe__balance_transactions') }} as moved
        on charges.balance_transaction_id = moved.balance_transaction_id
)

{{ conform('payments', 'taken', {
    'source_key': 'charge_id',
    'source_updated_at': 'created_at',
    'payment_key': 'charge_id',
    'order_record_id': record_id('stripe', 'charges', 'charge_id'),
    'method': 'method',
    'amount': "case when payment_status in ('captured', 'refunded') then paid_amount else amount end",
    'fee_amount': 'fee_amount',
    'currency': 'currency',
    'paid_at': "case when payment_status in ('captured', 'refunded') then created_at end",
    'payment_status': 'payment_status',
}) }}
