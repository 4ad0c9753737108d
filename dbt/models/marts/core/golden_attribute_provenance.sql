-- Which record each non-null value of a golden customer, SKU or location came from, by which rule, and whether trusted
-- sources contradict it.
with chosen as (
    {%- for entity, golden in {'customer': 'golden_customers', 'sku': 'golden_skus', 'location': 'golden_locations'}.items() %}
    {%- set outer_loop = loop %}
    {%- for unit, definition in golden_units(entity).items() %}
    {%- set unit_loop = loop %}
    {%- for attribute in definition.attributes %}
    select
        '{{ entity }}' as entity,
        {{ entity }}_id as golden_id,
        '{{ attribute }}' as attribute,
        {{ unit }}_record_id as record_id,
        {{ unit }}_rule as rule,
        {{ unit }}_rule_version as rule_version
    from {{ ref(golden) }}
    where {{ attribute }} is not null
    {{ 'union all' if not (loop.last and unit_loop.last and outer_loop.last) }}
    {%- endfor %}
    {%- endfor %}
    {%- endfor %}
),

records as (
    {%- for entity in ['customer', 'sku', 'location'] %}
    select
        '{{ entity }}' as entity,
        record_id,
        source_system,
        _batch_id,
        _page_sha256,
        _row_index
    from {{ ref('int_' ~ entity ~ '_records') }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

contested as (
    select distinct
        entity,
        golden_id,
        attribute
    from {{ source('identity', 'survivorship_conflicts') }}
)

select {{ contracted({
    'entity': 'chosen.entity', 'golden_id': 'chosen.golden_id', 'attribute': 'chosen.attribute',
    'record_id': 'chosen.record_id', 'is_contested': 'contested.golden_id is not null', 'batch_id': '_batch_id',
    'page_sha256': '_page_sha256', 'row_index': '_row_index',
}) }}
from chosen
inner join records on chosen.entity = records.entity and chosen.record_id = records.record_id
left join contested
    on chosen.entity = contested.entity
    and chosen.golden_id = contested.golden_id
    and chosen.attribute = contested.attribute
