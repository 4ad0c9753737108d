select
    parcels.*,
    received_at as delivered_at
from (
    {{ latest(source('landing', 'tmall__shippings'), keys=['parcel_id'], order='updated_at') }}
) as parcels
