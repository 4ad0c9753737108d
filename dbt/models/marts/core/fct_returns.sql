with returned as (
{{ counted_children('returns') }}
)

select {{ contracted({'return_id': 'returned.record_id', 'sku_id': 'skus.sku_id'}, 'returned') }}
from returned
left join {{ ref('sku_xref') }} as skus on returned.sku_key = skus.record_id and skus.is_current
