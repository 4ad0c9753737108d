-- Documents that identity could hang on no order, each with its reason: listed, so that nothing is lost.
select {{ contracted({'reason': 'orphans.reason'}, 'records') }}
from (
    select record_id, min(reason) as reason
    from {{ source('identity', 'order_orphans') }}
    group by record_id
) as orphans
inner join {{ ref('int_order_records_linked') }} as records on orphans.record_id = records.record_id
where records.order_id is null
