with deliveries as (
    select
        deliveries.*,
        case
            when deliveries.state = 'cancel' then 'cancelled'
            when deliveries.state = 'done' and deliveries.picking_type_code = 'outgoing' then 'shipped'
            else 'processing'
        end as order_status,
        partners.name as partner_name,
        partners.street as partner_street,
        partners.city as partner_city,
        case
            when partners.state_name like '% (__)' then substr(partners.state_name, 1, length(partners.state_name) - 5)
            else partners.state_name
        end as partner_region,
        partners.zip as partner_zip,
        partners.country_iso2 as partner_country
    from {{ ref('stg_odoo__deliveries') }} as deliveries
    left join {{ ref('stg_odoo__partners') }} as partners
        on deliveries.partner_id = partners.id
)

{{ conform('order_records', 'deliveries', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'order_number': 'name',
    'document_role': "'fulfilment'",
    'order_status': 'order_status',
    'customer_key': record_id('odoo', 'partners', 'partner_id'),
    'fulfilment_location_key': record_id('odoo', 'warehouses', 'warehouse_id'),
    'promised_at': 'deadline_at',
    'ship_to_name': 'partner_name',
    'ship_to_street': 'partner_street',
    'ship_to_city': 'partner_city',
    'ship_to_region': 'partner_region',
    'ship_to_postcode': 'partner_zip',
    'ship_to_country': 'partner_country',
}) }}
