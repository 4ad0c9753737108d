select
    refunds.*,
    status = 10 as is_refunded,
    status = 10 and refund_type = 3 as has_goods_back,
    case when status = 10 then updated_at end as refunded_at,
    cast(null as {{ column_type('instant') }}) as returned_at
from (
    {{ latest(source('landing', 'pinduoduo__refunds'), keys=['refund_id'], order='updated_at') }}
) as refunds
