-- Lazada tells refunds in cents, and those of Vietnam in whole dong, of which a hundredth has landed. Of an order whose
-- currency is not known neither is the amount.
with lines as (
    {{ latest_children(source('landing', 'lazada__reverse_order_lines'), ref('stg_lazada__reverse_orders'), parent_keys=['reverse_order_id'],
                       keys=['line_id']) }}
)

select
    lines.*,
    sums.currency,
    cast(case
        when sums.currency = 'VND' then lines.hundredth_amount * 100
        when sums.currency is not null then lines.hundredth_amount
    end as {{ column_type('amount') }}) as refund_amount
from lines
left join {{ ref('stg_lazada__order_sums') }} as sums
    on lines.order_id = sums.order_id and sums.currency_count = 1
