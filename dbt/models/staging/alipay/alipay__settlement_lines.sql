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

paid_out as (
    select withdrawals_before, entry_no from counted
    where is_withdrawal = 1
),

movements as (
    select
        counted.*,
        paid_out.entry_no as withdrawal_no,
        trades.trade_no,
        case counted.entry_type
            when '交易退款' then 'refund' when '收费' then 'fee' when '在线支付' then 'charge' else 'adjustment'
        end as line_kind,
        case when counted.entry_type = '收费' then 0 else counted.moved_amount end as gross_amount,
        case when counted.entry_type = '收费' then -counted.moved_amount else 0 end as fee_amount
    from counted
    left join paid_out on counted.withdrawals_before = paid_out.withdrawals_before
    left join (
        select distinct trade_no from {{ ref('stg_alipay__trades') }}
        where business_type = '交易'
    ) as trades on counted.business_no = trades.trade_no
    where counted.is_withdrawal = 0
)

{{ conform('settlement_lines', 'movements', {
    'source_key': 'entry_no',
    'source_updated_at': 'happened_at',
    'settlement_record_id': record_id('alipay', 'account_entries', 'withdrawal_no'),
    'line_key': 'entry_no',
    'line_kind': 'line_kind',
    'order_record_id': record_id('alipay', 'trades', 'trade_no'),
    'order_reference': 'merchant_order_no',
    'payment_record_id': record_id('alipay', 'trades', 'trade_no'),
    'gross_amount': 'gross_amount',
    'fee_amount': 'fee_amount',
    'net_amount': 'moved_amount',
    'currency': 'currency',
    'booked_at': 'happened_at',
    'available_at': 'happened_at',
}) }}
