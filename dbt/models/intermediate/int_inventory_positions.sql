-- A position that its source deleted counts nothing any more.
with positions as (
    {{ union_sources('inventory_positions') }}
)

select positions.*
from positions
left join {{ ref('int_tombstones') }} as gone on positions.record_id = gone.gone_record_id and gone.is_deleted
where gone.record_id is null
