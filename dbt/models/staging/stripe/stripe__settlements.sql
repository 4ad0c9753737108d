with paid as (
    select
        members.payout_id,
        sum(case when moved.transaction_type in ('charge', 'payment') then moved.amount else 0 end) as gross_amount,
        sum(case
            when moved.transaction_type in ('refund', 'payment_refund') or moved.reporting_category like 'dispute%'
                then moved.amount
            else 0
        end) as refund_amount,
        sum(case
            when moved.transaction_type in ('stripe_fee', 'application_fee') then moved.fee - moved.amount else moved.fee
        end) as fee_amount,
        sum(moved.net) as net_amount,
        min(moved.created_at) as opened_at,
        max(moved.created_at) as closed_at
    from {{ ref('stg_stripe__payout_transactions') }} as members
    inner join {{ ref('stg_stripe__balance_transactions') }} as moved
        on members.balance_transaction_id = moved.balance_transaction_id
    where moved.transaction_type <> 'payout'
    group by members.payout_id
),

payouts as (
    select
        payouts.*,
        paid.gross_amount,
        paid.refund_amount,
        paid.fee_amount,
        paid.net_amount - paid.gross_amount - paid.refund_amount + paid.fee_amount as adjustment_amount,
        paid.opened_at,
        paid.closed_at,
        case payouts.status when 'pending' then 'in_transit' when 'canceled' then 'cancelled' else payouts.status end
            as settlement_status
    from {{ ref('stg_stripe__payouts') }} as payouts
    left join paid on payouts.payout_id = paid.payout_id
)

{{ conform('settlements', 'payouts', {
    'source_key': 'payout_id',
    'source_updated_at': 'created_at',
    'settlement_key': 'payout_id',
    'settlement_status': 'settlement_status',
    'currency': 'currency',
    'gross_amount': 'gross_amount',
    'refund_amount': 'refund_amount',
    'fee_amount': 'fee_amount',
    'adjustment_amount': 'adjustment_amount',
    'net_amount': 'amount',
    'opened_at': 'opened_at',
    'closed_at': 'closed_at',
    'paid_at': 'arrives_on',
    'bank_reference': 'coalesce(bank_reference, statement_descriptor)',
}) }}
