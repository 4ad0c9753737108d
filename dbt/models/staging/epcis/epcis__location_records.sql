-- Where goods were packed or sold, known by nothing but its global location number.
with places as (
    select *
    from (
        select
            documents.*,
            row_number() over (partition by read_point_gln order by occurred_at, event_id) as place_rank
        from {{ ref('stg_epcis__documents') }} as documents
        where read_point_gln is not null
    ) as ranked
    where place_rank = 1
)

{{ conform('location_records', 'places', {
    'source_key': "'gln/' || read_point_gln",
    'source_updated_at': 'recorded_at',
    'gln': 'read_point_gln',
}) }}
