-- What certifies a lot: named where it came into being, as raw material or by a transformation.
with certified as (
    select
        certificates.*,
        events.recorded_at,
        quantities._child_index as quantity_index,
        {{ lot_id('quantities.gtin14', 'quantities.lot_number') }} as lot_id
    from {{ ref('stg_epcis__event_certificates') }} as certificates
    inner join {{ ref('stg_epcis__events') }} as events on certificates.event_id = events.event_id
    inner join {{ ref('stg_epcis__event_quantities') }} as quantities
        on certificates.event_id = quantities.event_id and quantities.role in ('object', 'output')
    where
        events.error_declared_at is null
        and (events.biz_step = 'commissioning' or events.type = 'TransformationEvent')
        and quantities.gtin14 is not null and quantities.lot_number is not null
)

{{ conform('lot_certificates', 'certified', {
    'source_key': "event_id || '/' || cast(_child_index as " ~ column_type('text') ~ ") || '/' || cast(quantity_index as "
        ~ column_type('text') ~ ')',
    'source_updated_at': 'recorded_at',
    'lot_id': 'lot_id',
    'certificate_id': 'certificate_id',
}) }}
