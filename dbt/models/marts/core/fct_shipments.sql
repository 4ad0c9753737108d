-- One row per shipment and order. What went in one parcel with another order's goods has a row for each: its way is theirs,
-- its weight and its cost are none of theirs alone.
{% set alone = {} -%}
{%- for measure in ['package_count', 'gross_weight_kg', 'volume_m3', 'cost_amount'] -%}
    {%- do alone.update({measure: 'case when not shipments.is_shared then shipments.' ~ measure ~ ' end'}) -%}
{%- endfor -%}
with shipments as (
{{ counted_children('shipments', with_shared=true) }}
)

select {{ contracted(dict(alone,
    shipment_id="case when shipments.is_shared then shipments.record_id || '/' || shipments.order_id
        else shipments.record_id end",
    from_location_id='locations.location_id',
), 'shipments') }}
from shipments
left join {{ ref('location_xref') }} as locations
    on shipments.from_location_key = locations.record_id and locations.is_current
