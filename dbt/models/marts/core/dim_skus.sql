with members as (
    select
        xref.sku_id,
        {{ sorted_json_list('records.source_system') }} as source_systems,
        count(*) as record_count,
        count(xref.source_deleted_at) as deleted_record_count
    from {{ ref('int_sku_records') }} as records
    inner join {{ ref('sku_xref') }} as xref on records.record_id = xref.record_id and xref.is_current
    group by xref.sku_id
)

select {{ contracted({
    'source_systems': 'members.source_systems',
    'record_count': 'members.record_count',
    'deleted_record_count': 'members.deleted_record_count',
}, 'golden') }}
from {{ ref('golden_skus') }} as golden
inner join members on golden.sku_id = members.sku_id
