select
    after_sales.*,
    status in ('MERCHANT_REFUND_SUCCESS', 'MERCHANT_RETURN_SUCCESS') as is_refunded,
    status = 'MERCHANT_RETURN_SUCCESS' as has_goods_back,
    case when status in ('MERCHANT_REFUND_SUCCESS', 'MERCHANT_RETURN_SUCCESS') then updated_at end as refunded_at,
    cast(null as {{ column_type('instant') }}) as returned_at
from (
    {{ latest(source('landing', 'wechat_shop__after_sales'), keys=['refund_id'], order='updated_at') }}
) as after_sales
