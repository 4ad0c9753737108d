-- Where lots came into being that were made of no other lot, and who owned them then.
with born as (
    select
        events.*,
        quantities._child_index as quantity_index,
        quantities.lot_number as born_lot_number,
        {{ lot_id('quantities.gtin14', 'quantities.lot_number') }} as lot_id,
        owners.supplier_gln
    from {{ ref('stg_epcis__events') }} as events
    inner join {{ ref('stg_epcis__event_quantities') }} as quantities
        on events.event_id = quantities.event_id and quantities.role = 'object'
    left join (
        select event_id, min(gln) as supplier_gln
        from {{ ref('stg_epcis__event_parties') }}
        where direction = 'source' and party_type = 'owning_party'
        group by event_id
    ) as owners on events.event_id = owners.event_id
    where
        events.biz_step = 'commissioning' and events.action = 'ADD' and events.error_declared_at is null
        and quantities.gtin14 is not null and quantities.lot_number is not null
)

{{ conform('lot_origins', 'born', {
    'source_key': "event_id || '/' || cast(quantity_index as " ~ column_type('text') ~ ')',
    'source_updated_at': 'recorded_at',
    'lot_id': 'lot_id',
    'lot_number': 'born_lot_number',
    'origin_country': 'origin_country_iso2',
    'supplier_key': record_id('epcis', 'event_parties', 'supplier_gln'),
    'born_at': 'occurred_at',
}) }}
