with documents as (
    select
        *,
        case when is_over_the_counter then 'fulfilment' else 'shipment' end as document_role,
        case when is_over_the_counter then 'delivered' else 'shipped' end as order_status
    from {{ ref('stg_epcis__documents') }}
)

{{ conform('order_records', 'documents', {
    'source_key': 'event_id',
    'source_updated_at': 'recorded_at',
    'document_role': 'document_role',
    'order_status': 'order_status',
    'fulfilment_location_key': record_id('epcis', 'events', "'gln/' || read_point_gln"),
}) }}
