-- A week's statement: what it booked, and whether it was paid out.
with summed as (
    select
        lines.*,
        sum(case when line_kind = 'charge' then gross_amount else 0 end) over (partition by statement) as charged_amount,
        sum(case when line_kind = 'refund' then gross_amount else 0 end) over (partition by statement) as refund_amount,
        sum(fee_amount) over (partition by statement) as kept_amount,
        sum(net_amount) over (partition by statement) as balance_amount,
        max(case when paid_status = 'Paid' then 1 else 0 end) over (partition by statement) as is_paid,
        row_number() over (partition by statement order by booked_at desc, {{ code_point_order('line_key') }}) as statement_rank
    from {{ ref('stg_lazada__statement_lines') }} as lines
),

statements as (
    select
        *,
        cast(statement_from as {{ column_type('instant') }}) as opened_at,
        case when is_paid = 1 then cast(statement_until as {{ column_type('instant') }}) end as closed_at
    from summed
    where statement_rank = 1
)

{{ conform('settlements', 'statements', {
    'source_key': 'statement',
    'source_updated_at': 'booked_at',
    'stream': "'settlements'",
    'settlement_key': 'statement',
    'settlement_status': "case when is_paid = 1 then 'paid' else 'open' end",
    'currency': 'currency',
    'gross_amount': 'charged_amount',
    'refund_amount': 'refund_amount',
    'fee_amount': 'kept_amount',
    'adjustment_amount': 'cast(0 as ' ~ column_type('amount') ~ ')',
    'net_amount': 'balance_amount',
    'opened_at': 'opened_at',
    'closed_at': 'closed_at',
    'paid_at': 'closed_at',
}) }}
