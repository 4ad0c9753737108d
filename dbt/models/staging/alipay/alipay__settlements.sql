-- What is on the account when money is withdrawn is what came and went since the withdrawal before.
with counted as (
    select
        *,
        case when entry_type = '提现' then 1 else 0 end as is_withdrawal,
        income_amount + expense_amount as moved_amount,
        coalesce(sum(case when entry_type = '提现' then 1 else 0 end) over (
            order by happened_at, {{ code_point_order('entry_no') }}
            rows between unbounded preceding and 1 preceding
        ), 0) as withdrawals_before
    from {{ ref('stg_alipay__account_entries') }}
),

sums as (
    select
        withdrawals_before,
        sum(case when entry_type = '收费' or moved_amount < 0 then 0 else moved_amount end) as gross_amount,
        sum(case when entry_type = '交易退款' then moved_amount else 0 end) as refund_amount,
        -sum(case when entry_type = '收费' then moved_amount else 0 end) as fee_amount,
        sum(case
            when entry_type not in ('交易退款', '收费') and moved_amount < 0 then moved_amount else 0
        end) as adjustment_amount,
        min(happened_at) as opened_at,
        max(happened_at) as closed_at
    from counted
    where is_withdrawal = 0
    group by withdrawals_before
),

withdrawals as (
    select
        counted.*,
        sums.gross_amount,
        sums.refund_amount,
        sums.fee_amount,
        sums.adjustment_amount,
        sums.opened_at,
        sums.closed_at
    from counted
    left join sums on counted.withdrawals_before = sums.withdrawals_before
    where counted.is_withdrawal = 1
)

{{ conform('settlements', 'withdrawals', {
    'source_key': 'entry_no',
    'source_updated_at': 'happened_at',
    'settlement_key': 'entry_no',
    'settlement_status': "'paid'",
    'currency': 'currency',
    'gross_amount': 'gross_amount',
    'refund_amount': 'refund_amount',
    'fee_amount': 'fee_amount',
    'adjustment_amount': 'adjustment_amount',
    'net_amount': '-moved_amount',
    'opened_at': 'opened_at',
    'closed_at': 'closed_at',
    'paid_at': 'happened_at',
    'bank_reference': 'business_no',
}) }}
