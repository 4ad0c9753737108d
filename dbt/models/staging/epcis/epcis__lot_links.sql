-- Each lot that went into a transformation is in each lot that came out of it.
with made as (
    select
        events.*,
        inputs._child_index as input_index,
        outputs._child_index as output_index,
        {{ lot_id('inputs.gtin14', 'inputs.lot_number') }} as from_lot_id,
        {{ lot_id('outputs.gtin14', 'outputs.lot_number') }} as to_lot_id
    from {{ ref('stg_epcis__events') }} as events
    inner join {{ ref('stg_epcis__event_quantities') }} as inputs
        on events.event_id = inputs.event_id and inputs.role = 'input' and inputs.lot_number is not null
    inner join {{ ref('stg_epcis__event_quantities') }} as outputs
        on events.event_id = outputs.event_id and outputs.role = 'output' and outputs.lot_number is not null
    where
        events.type = 'TransformationEvent' and events.error_declared_at is null
        and inputs.gtin14 is not null and outputs.gtin14 is not null
)

{{ conform('lot_links', 'made', {
    'source_key': "event_id || '/' || cast(input_index as " ~ column_type('text') ~ ") || '/' || cast(output_index as "
        ~ column_type('text') ~ ')',
    'source_updated_at': 'recorded_at',
    'from_lot_id': 'from_lot_id',
    'to_lot_id': 'to_lot_id',
    'occurred_at': 'occurred_at',
    'biz_step': 'biz_step',
}) }}
