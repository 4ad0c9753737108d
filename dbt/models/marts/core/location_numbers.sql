-- Every code any system has for a place, as written: what it is found by where its best-believed code does not tell.
with linked as (
    select
        records.record_id,
        xref.location_id,
        records.source_system,
        records.location_code,
        records.gln
    from {{ ref('int_location_records') }} as records
    inner join {{ ref('location_xref') }} as xref on records.record_id = xref.record_id and xref.is_current
),

numbers as (
    select record_id, location_id, source_system, location_code as location_number from linked
    union
    select record_id, location_id, source_system, gln as location_number from linked
)

select {{ contracted() }}
from numbers
where location_number is not null and location_number <> ''
