{%- set relation %}(
    select records.*, xref.location_id
    from {{ ref('int_location_records') }} as records
    inner join {{ ref('location_xref') }} as xref on records.record_id = xref.record_id and xref.is_current
)
{%- endset -%}
{{ survive(relation, 'location_id', 'location', golden_units('location')) }}
