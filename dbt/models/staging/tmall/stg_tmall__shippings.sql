-- When a parcel left stands on the orders in it, else on the trade. When it came Tmall does not say: the status of a parcel
-- whose carrier the seller booked himself is that of one that came as soon as it leaves.
with sent as (
    select
        order_id,
        tracking_number,
        min(shipped_at) as shipped_at
    from {{ ref('stg_tmall__trade_orders') }}
    where tracking_number is not null
    group by order_id, tracking_number
)

select
    parcels.*,
    coalesce(sent.shipped_at, trades.shipped_at) as shipped_at,
    cast(null as {{ column_type('instant') }}) as delivered_at
from (
    {{ latest(source('landing', 'tmall__shippings'), keys=['parcel_id'], order='updated_at') }}
) as parcels
left join sent on parcels.order_id = sent.order_id and parcels.tracking_number = sent.tracking_number
left join {{ ref('stg_tmall__trade_details') }} as trades on parcels.order_id = trades.order_id
