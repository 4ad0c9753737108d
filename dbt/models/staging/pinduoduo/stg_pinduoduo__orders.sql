-- The id of the address stands for the buyer, whom Pinduoduo does not name.
select
    orders.*,
    address_id as buyer_id,
    case when trade_type = 1 then 'presale' else 'b2c' end as order_type,
    case
        when confirm_status = 2 then 'cancelled'
        when confirm_status = 0 then 'open'
        when status = 1 then 'processing'
        when status = 2 then 'shipped'
        when status = 3 then 'delivered'
    end as order_status,
    case pay_type when 'WEIXIN' then 'wechat_pay' else lower(pay_type) end as payment_method,
    cast(null as {{ column_type('amount') }}) as fee_amount,
    case when confirm_status = 2 then updated_at end as cancelled_at
from (
    {{ latest(source('landing', 'pinduoduo__orders'), keys=['order_id'], order='updated_at') }}
) as orders
