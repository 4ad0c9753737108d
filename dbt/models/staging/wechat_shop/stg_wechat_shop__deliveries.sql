-- When a parcel came WeChat does not say.
select
    parcels.*,
    parcel_id as tracking_number,
    cast(null as {{ column_type('instant') }}) as delivered_at
from (
    {{ latest_children(source('landing', 'wechat_shop__deliveries'), ref('stg_wechat_shop__orders'),
                       parent_keys=['order_id'], keys=['order_id', 'parcel_id']) }}
) as parcels
