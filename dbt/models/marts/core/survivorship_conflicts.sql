-- Where trusted sources contradict each other about a golden record: every value told, and the one that survives until a
-- steward has decided.
with surviving as (
    select
        entity,
        golden_id,
        attribute,
        record_id
    from {{ ref('golden_attribute_provenance') }}
    union all
    select
        'order' as entity,
        order_id as golden_id,
        attribute,
        source_system || ':' || stream || ':' || record_key as record_id
    from {{ ref('order_attribute_provenance') }}
)

select {{ contracted({'is_surviving': 'surviving.record_id is not null'}, 'conflicts') }}
from {{ source('identity', 'survivorship_conflicts') }} as conflicts
left join surviving
    on conflicts.entity = surviving.entity
    and conflicts.golden_id = surviving.golden_id
    and conflicts.attribute = surviving.attribute
    and conflicts.record_id = surviving.record_id
