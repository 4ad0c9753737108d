-- Devices read these numbers off labels and screens: there are no slips in them.
with named as (
    select
        transactions.*,
        documents.recorded_at
    from {{ ref('stg_epcis__event_transactions') }} as transactions
    inner join {{ ref('stg_epcis__documents') }} as documents on transactions.event_id = documents.event_id
)

{{ conform('order_references', 'named', {
    'source_key': "event_id || '/' || cast(_child_index as " ~ column_type('text') ~ ')',
    'source_updated_at': 'recorded_at',
    'order_record_id': record_id('epcis', 'events', 'event_id'),
    'reference_type': "'scanned'",
    'reference_value': 'number',
}) }}
