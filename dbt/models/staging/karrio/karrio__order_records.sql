-- A label that was made and cancelled is a document too; it carried nothing.
with shipments as (
    select
        *,
        case
            when status = 'cancelled' then 'cancelled'
            when status = 'delivered' then 'delivered'
            when status in ('draft', 'created') then 'processing'
            else 'shipped'
        end as order_status,
        coalesce(ship_to_name, ship_to_company) as ship_to,
        {{ karrio_service_level('service') }} as service_level
    from {{ ref('stg_karrio__shipments') }}
)

{{ conform('order_records', 'shipments', {
    'source_key': 'id',
    'source_updated_at': 'created_at',
    'document_role': "'shipment'",
    'is_test': 'is_test_mode',
    'order_status': 'order_status',
    'ship_to_name': 'ship_to',
    'ship_to_street': 'ship_to_street',
    'ship_to_city': 'ship_to_city',
    'ship_to_region': 'ship_to_region',
    'ship_to_postcode': 'ship_to_postcode',
    'ship_to_country': 'ship_to_country_iso2',
    'service_level': 'service_level',
}) }}
