-- A discount is the whole trade's, or one of its orders' own.
select
    trades.*,
    order_discount_amount + own_discount_amount as discount_amount,
    case when trade_type = 'step' then 'presale' else 'b2c' end as order_type,
    case status
        when 'TRADE_NO_CREATE_PAY' then 'open'
        when 'WAIT_BUYER_PAY' then 'open'
        when 'PAY_PENDING' then 'open'
        when 'WAIT_PRE_AUTH_CONFIRM' then 'open'
        when 'PAID_FORBID_CONSIGN' then 'processing'
        when 'WAIT_SELLER_SEND_GOODS' then 'processing'
        when 'SELLER_CONSIGNED_PART' then 'processing'
        when 'WAIT_BUYER_CONFIRM_GOODS' then 'shipped'
        when 'TRADE_BUYER_SIGNED' then 'delivered'
        when 'TRADE_FINISHED' then 'closed'
        when 'TRADE_CLOSED' then 'returned'
        when 'TRADE_CLOSED_BY_TAOBAO' then 'cancelled'
    end as order_status,
    'alipay' as payment_method,
    case when status = 'TRADE_CLOSED_BY_TAOBAO' then ended_at end as cancelled_at,
    case when status = 'TRADE_FINISHED' then ended_at end as closed_at,
    cast(null as {{ column_type('instant') }}) as promised_at
from (
    {{ latest(source('landing', 'tmall__trade_details'), keys=['order_id'], order='updated_at') }}
) as trades
