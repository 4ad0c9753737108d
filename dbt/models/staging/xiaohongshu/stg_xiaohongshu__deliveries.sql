-- When a parcel left and came Xiaohongshu does not say of each; the first left when the order did.
select
    parcels.*,
    parcels.parcel_id as tracking_number,
    orders.shipped_at,
    cast(null as {{ column_type('instant') }}) as delivered_at
from (
    {{ latest_children(source('landing', 'xiaohongshu__deliveries'), ref('stg_xiaohongshu__order_versions'),
                       parent_keys=['order_id'], keys=['order_id', 'parcel_id']) }}
) as parcels
inner join {{ ref('stg_xiaohongshu__order_versions') }} as orders on parcels.order_id = orders.order_id
