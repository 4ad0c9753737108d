with members as (
    select
        xref.location_id,
        {{ sorted_json_list('records.source_system') }} as source_systems,
        count(*) as record_count,
        count(xref.source_deleted_at) as deleted_record_count
    from {{ ref('int_location_records') }} as records
    inner join {{ ref('location_xref') }} as xref on records.record_id = xref.record_id and xref.is_current
    group by xref.location_id
)

select {{ contracted({
    'source_systems': 'members.source_systems',
    'record_count': 'members.record_count',
    'deleted_record_count': 'members.deleted_record_count',
}, 'golden') }}
from {{ ref('golden_locations') }} as golden
inner join members on golden.location_id = members.location_id
