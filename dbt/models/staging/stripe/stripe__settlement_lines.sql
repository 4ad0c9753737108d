with members as (
    select balance_transaction_id, max(payout_id) as payout_id
    from {{ ref('stg_stripe__payout_transactions') }}
    group by balance_transaction_id
),

movements as (
    select
        moved.*,
        members.payout_id,
        coalesce(charges.charge_id, refunds.charge_id) as charge_id,
        coalesce(charges.amount_captured, charges.amount, -refunds.amount) as charged_amount,
        coalesce(charges.currency, refunds.currency) as charged_currency,
        coalesce(paid.order_number, paid.order_code, paid.description) as order_reference,
        case
            when moved.reporting_category like 'dispute%' then 'dispute'
            when moved.transaction_type in ('charge', 'payment') then 'charge'
            when moved.transaction_type in ('refund', 'payment_refund') then 'refund'
            when moved.transaction_type in ('stripe_fee', 'application_fee') then 'fee'
            else 'adjustment'
        end as line_kind,
        -- Stripe books a fee of no one charge as a negative amount without a fee.
        case
            when moved.transaction_type in ('stripe_fee', 'application_fee') then moved.fee - moved.amount else moved.fee
        end as fee_amount
    from {{ ref('stg_stripe__balance_transactions') }} as moved
    left join members on moved.balance_transaction_id = members.balance_transaction_id
    left join {{ ref('stg_stripe__charges') }} as charges on moved.source_id = charges.charge_id
    left join {{ ref('stg_stripe__refunds') }} as refunds on moved.source_id = refunds.refund_id
    left join {{ ref('stg_stripe__charges') }} as paid
        on coalesce(charges.charge_id, refunds.charge_id) = paid.charge_id
    where moved.transaction_type <> 'payout'
)

{{ conform('settlement_lines', 'movements', {
    'source_key': 'balance_transaction_id',
    'source_updated_at': 'created_at',
    'settlement_record_id': record_id('stripe', 'payouts', 'payout_id'),
    'line_key': 'balance_transaction_id',
    'line_kind': 'line_kind',
    'order_record_id': record_id('stripe', 'charges', 'charge_id'),
    'order_reference': 'order_reference',
    'payment_record_id': record_id('stripe', 'charges', 'charge_id'),
    'gross_amount': 'net + fee_amount',
    'fee_amount': 'fee_amount',
    'net_amount': 'net',
    'currency': 'currency',
    'charged_amount': 'case when charged_currency <> currency then charged_amount end',
    'charged_currency': 'case when charged_currency <> currency then charged_currency end',
    'exchange_rate': 'exchange_rate',
    'booked_at': 'created_at',
    'available_at': 'available_on',
}) }}
