-- What was settled, and what was taken back, each with what the platform and the payment kept of it. The documentation
-- states no signs: the type of a transaction tells its side.
with told as (
    select
        *,
        case settle_kind when 1 then -1 else 1 end as side,
        abs(coalesce(commission_amount, 0)) + abs(coalesce(promoter_amount, 0)) + abs(coalesce(instalment_amount, 0))
        + abs(coalesce(extra_amount, 0)) as kept_amount,
        abs(coalesce(payment_channel_amount, 0)) as kept_for_payment_amount
    from (
        {{ latest(source('landing', 'xiaohongshu__transactions'), keys=['transaction_id'], order='settled_at') }}
    ) as transactions
)

select
    transaction_id, order_id, refund_id, currency, settled_at,
    case when side = 1 then 'charge' else 'refund' end as line_kind,
    side * (abs(moved_amount) + kept_amount + kept_for_payment_amount) as gross_amount,
    side * kept_amount as channel_fee_amount,
    side * kept_for_payment_amount as payment_fee_amount,
    side * abs(moved_amount) as net_amount,
    _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
from told
