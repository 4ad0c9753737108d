-- Who gives a present is the buyer.
select
    orders.*,
    coalesce(giver_openid, openid) as buyer_id,
    'b2c' as order_type,
    case
        when status = 10 then 'open'
        when status in (12, 13, 20, 21) then 'processing'
        when status = 30 then 'shipped'
        when status = 100 then 'closed'
        when status = 200 or (status = 250 and paid_at is not null) then 'returned'
        when status = 250 then 'cancelled'
    end as order_status,
    'wechat_pay' as payment_method,
    cast(null as {{ column_type('instant') }}) as promised_at,
    case when status = 250 and paid_at is null then updated_at end as cancelled_at,
    case when status = 100 then received_at end as closed_at
from (
    {{ latest(source('landing', 'wechat_shop__orders'), keys=['order_id'], order='updated_at') }}
) as orders
