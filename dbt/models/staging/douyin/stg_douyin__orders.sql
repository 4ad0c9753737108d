with kept as (
    select
        order_id,
        sum(income_amount - settled_amount) as fee_amount
    from {{ ref('stg_douyin__settle_bills') }}
    group by order_id
)

select
    orders.*,
    case when trade_type = 2 then 'presale' else 'b2c' end as order_type,
    case
        when status in (1, 103) then 'open'
        when status in (105, 2, 101) then 'processing'
        when status = 3 then 'shipped'
        when status = 4 then 'cancelled'
        when status = 5 then 'closed'
        when status in (21, 22, 39) then 'returned'
    end as order_status,
    case
        when pay_type = 0 then 'cash_on_delivery'
        when pay_type = 1 then 'wechat_pay'
        when pay_type = 2 then 'alipay'
        when pay_type = 4 then 'card'
        when pay_type in (8, 9, 12, 16) then 'douyin_pay'
    end as payment_method,
    kept.fee_amount,
    case when status = 4 then updated_at end as cancelled_at,
    case when status = 5 then finished_at end as closed_at
from (
    {{ latest(source('landing', 'douyin__orders'), keys=['order_id'], order='updated_at') }}
) as orders
left join kept on orders.order_id = kept.order_id
