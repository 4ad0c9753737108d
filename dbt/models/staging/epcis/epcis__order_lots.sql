with goods as (
    select
        quantities.*,
        documents.recorded_at,
        {{ lot_id('quantities.gtin14', 'quantities.lot_number') }} as lot_id
    from {{ ref('stg_epcis__event_quantities') }} as quantities
    inner join {{ ref('stg_epcis__documents') }} as documents on quantities.event_id = documents.event_id
    where quantities.role in ('child', 'object') and quantities.lot_number is not null and quantities.gtin14 is not null
)

{{ conform('order_lots', 'goods', {
    'source_key': "event_id || '/' || cast(_child_index as " ~ column_type('text') ~ ')',
    'source_updated_at': 'recorded_at',
    'order_record_id': record_id('epcis', 'events', 'event_id'),
    'lot_id': 'lot_id',
    'lot_number': 'lot_number',
    'gtin14': 'gtin14',
    'qty': 'quantity',
    'uom': "coalesce(uom, 'C62')",
}) }}
