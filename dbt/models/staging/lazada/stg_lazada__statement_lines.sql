-- What one statement says of one order's sale, or of what was given back of it: prices, and the fees that were kept of them.
-- Statements name no currency; an account is of one country, and its orders say which currency that is.
with account as (
    select case when count(distinct currency) = 1 then min({{ code_point_order('currency') }}) end as currency
    from {{ ref('stg_lazada__order_items') }}
),

entries as (
    select
        entries.*,
        account.currency,
        case when entries.transaction_type like 'Refunds%' then 'refund' else 'charge' end as line_kind,
        entries.transaction_type like '%Fees' as is_fee
    from {{ ref('stg_lazada__transactions') }} as entries
    cross join account
    where entries.order_number is not null and entries.statement is not null
),

summed as (
    select
        entries.*,
        sum(case when is_fee then 0 else amount end) over (partition by order_number, statement, line_kind) as gross_amount,
        -sum(case when is_fee then amount else 0 end) over (partition by order_number, statement, line_kind) as fee_amount,
        -sum(case when is_fee and fee_name like 'Payment Fee%' then amount else 0 end)
            over (partition by order_number, statement, line_kind) as payment_fee_amount,
        sum(amount) over (partition by order_number, statement, line_kind) as net_amount,
        min(booked_at) over (partition by order_number, statement, line_kind) as first_booked_at,
        row_number() over (
            partition by order_number, statement, line_kind
            order by booked_at desc, {{ code_point_order('transaction_number') }}
        ) as told_rank
    from entries
)

select
    *,
    order_number || '/' || statement || '/' || line_kind as line_key
from summed
where told_rank = 1
