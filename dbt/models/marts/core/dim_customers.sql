with members as (
    select
        xref.customer_id,
        {{ sorted_json_list('records.source_system') }} as source_systems,
        count(*) as record_count
    from {{ ref('int_customer_records') }} as records
    inner join {{ ref('customer_xref') }} as xref on records.record_id = xref.record_id and xref.is_current
    group by xref.customer_id
)

select {{ contracted({'source_systems': 'members.source_systems', 'record_count': 'members.record_count'}, 'golden') }}
from {{ ref('golden_customers') }} as golden
inner join members on golden.customer_id = members.customer_id
