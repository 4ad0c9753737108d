-- Vendure knows no address of a stock location. A description of one word is the site's own code.
with locations as (
    select
        *,
        case when description <> '' and description not like '% %' then description end as location_code
    from {{ ref('stg_vendure__stock_locations') }}
)

{{ conform('location_records', 'locations', {
    'source_key': 'location_id',
    'source_updated_at': 'updated_at',
    'location_name': 'name',
    'location_code': 'location_code',
}) }}
