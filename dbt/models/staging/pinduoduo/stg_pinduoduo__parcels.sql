-- The first parcel stands on the order, further ones beside it; when they came is known of the order as a whole.
with parcels as (
    select
        order_id, tracking_number, carrier_id, shipped_at, received_at,
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_pinduoduo__orders') }}
    where tracking_number is not null
    union all
    select
        further.order_id, further.tracking_number, further.carrier_id, orders.shipped_at, orders.received_at,
        further._source, further._stream, further._batch_id, further._page_sha256, further._row_index, further._extracted_at
    from {{ ref('stg_pinduoduo__extra_deliveries') }} as further
    inner join {{ ref('stg_pinduoduo__orders') }} as orders on further.order_id = orders.order_id
)

select
    parcels.*,
    parcels.tracking_number as parcel_id,
    carriers.carrier_name as carrier,
    parcels.received_at as delivered_at
from parcels
left join {{ ref('stg_pinduoduo__carriers') }} as carriers on parcels.carrier_id = carriers.carrier_id
