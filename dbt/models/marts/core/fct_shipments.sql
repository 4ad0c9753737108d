with shipments as (
{{ counted_children('shipments') }}
)

select {{ contracted({'shipment_id': 'shipments.record_id', 'from_location_id': 'locations.location_id'}, 'shipments') }}
from shipments
left join {{ ref('location_xref') }} as locations
    on shipments.from_location_key = locations.record_id and locations.is_current
