{#-
  Order of trust of the sources: one row per source, with a priority, rule and rule version column for each unit.

  The rules in force, as the pipeline resolves them from what ships and what stewards set, stand in
  identity.survivorship_rules, one row per unit and source system.
-#}
{% macro source_priorities(entity, units) %}
    select
        systems.source_system as priority_source,
        min(systems.authority) as priority_authority,
        min(systems.kind) as source_kind
        {%- for unit in units %},
        min(case when rules.unit = '{{ unit }}' then rules.priority end) as {{ unit }}_priority,
        min(case when rules.unit = '{{ unit }}' then rules.rule end) as {{ unit }}__rule,
        min(case when rules.unit = '{{ unit }}' then rules.rule_version end) as {{ unit }}__version
        {%- endfor %}
    from {{ ref('source_systems') }} as systems
    left join {{ source('identity', 'survivorship_rules') }} as rules
        on systems.source_system = rules.source_system and rules.entity = '{{ entity }}'
    group by systems.source_system
{%- endmacro %}


{#- SQL condition: the record can answer for a unit. -#}
{% macro can_answer(unit) -%}
    {{ unit.anchor }} is not null{% if unit.where %} and {{ unit.where }}{% endif %}
{%- endmacro %}


{#- What a record tells for a unit, as one text: equal exactly where all its attributes are. -#}
{% macro told_value(unit) -%}
    {%- set told = [] -%}
    {%- for expression, kind in unit.attributes.values() or [(unit.anchor, none)] -%}
        {%- do told.append("coalesce(trim(cast(" ~ expression ~ " as " ~ column_type('text') ~ ")), '')") -%}
    {%- endfor -%}
    {{ told | join(' || chr(31) || ') }}
{%- endmacro %}


{#-
  One row per golden id: each unit whole from the one record that survives for it.

  relation: records with source_system, record_id, source_updated_at and the id column; rows without an id are left out.
  units: as in golden_units, with an optional where (SQL condition, else the record cannot answer) and last (SQL condition,
  then it answers only where no other record can). Gives the id, every attribute, and <unit>_record_id,
  <unit>_rule and <unit>_rule_version, which say where the unit came from (null when no record could answer).

  A listed source answers before one that is not. Then the rule decides; what it leaves even goes by priority, then by
  authority, the stated order of systems of one kind. An update counts only within one system: two systems that
  contradict each other do not take turns whenever one of them is touched.
-#}
{% macro survive(relation, id, entity, units) %}
with priorities as (
{{ source_priorities(entity, units) }}
),

-- Where one record is all there is, nothing needs to be weighed.
lone as (
    select {{ id }} as lone_id
    from {{ relation }}
    where {{ id }} is not null
    group by {{ id }}
    having count(*) = 1
),

rivals as (
    select records.*
    from {{ relation }} as records
    left join lone on records.{{ id }} = lone.lone_id
    where records.{{ id }} is not null and lone.lone_id is null
),

votes as (
    {%- for name, unit in units.items() %}
    select
        cast('{{ name }}' as {{ column_type('text') }}) as unit,
        rivals.{{ id }} as voted_id,
        {{ told_value(unit) }} as told_value,
        count(*) as vote_count
    from rivals
    inner join priorities
        on rivals.source_system = priorities.priority_source and priorities.{{ name }}__rule = 'most_frequent'
    where {{ can_answer(unit) }}
    group by rivals.{{ id }}, {{ told_value(unit) }}
    {{ 'union all' if not loop.last }}
    {%- endfor %}
),

ranked as (
    select
        rivals.*
        {%- for name, unit in units.items() %},
        {{ name }}__rule,
        {{ name }}__version,
        case when {{ can_answer(unit) }} then 1 end as {{ name }}__can,
        row_number() over (
            partition by {{ id }}
            order by
                case when {{ can_answer(unit) }} then 0 else 1 end,
                {%- if unit.last %}
                case when {{ unit.last }} then 1 else 0 end,
                {%- endif %}
                case when {{ name }}_priority is null then 1 else 0 end,
                case {{ name }}__rule
                    when 'most_frequent' then -coalesce({{ name }}__votes.vote_count, 0)
                    when 'most_complete' then -(0
                        {%- for expression, kind in unit.attributes.values() %} + case when {{ expression }} is not null then 1 else 0 end
                        {%- endfor %})
                    else 0
                end,
                case when {{ name }}__rule = 'most_recent' then source_updated_at end desc nulls last,
                coalesce({{ name }}_priority, 99),
                coalesce(priority_authority, 99),
                source_updated_at desc nulls last,
                {{ code_point_order('record_id') }}
        ) as {{ name }}__rank
        {%- endfor %}
    from rivals
    left join priorities on rivals.source_system = priorities.priority_source
    {%- for name, unit in units.items() %}
    left join votes as {{ name }}__votes
        on {{ name }}__votes.unit = '{{ name }}'
        and rivals.{{ id }} = {{ name }}__votes.voted_id
        and case when {{ name }}__rule = 'most_frequent' then {{ told_value(unit) }} end = {{ name }}__votes.told_value
    {%- endfor %}
)

select
    {{ id }}
    {%- for name, unit in units.items() %}
        {%- set survives = name ~ '__rank = 1 and ' ~ name ~ '__can = 1' %}
        {%- for attribute, definition in unit.attributes.items() %},
            {%- if definition[1] == 'boolean' %}
    max(case when {{ survives }} then case when {{ definition[0] }} then 1 when not {{ definition[0] }} then 0 end end) = 1
        as {{ attribute }}
            {%- else %}
    cast(max(case when {{ survives }} then {{ definition[0] }} end) as {{ column_type(definition[1]) }}) as {{ attribute }}
            {%- endif %}
        {%- endfor %},
    max(case when {{ survives }} then record_id end) as {{ name }}_record_id,
    max(case when {{ survives }} then {{ name }}__rule end) as {{ name }}_rule,
    max(case when {{ survives }} then {{ name }}__version end) as {{ name }}_rule_version
    {%- endfor %}
from ranked
group by {{ id }}

union all

select
    {{ id }}
    {%- for name, unit in units.items() %}
        {%- for attribute, definition in unit.attributes.items() %},
    cast(case when {{ can_answer(unit) }} then {{ definition[0] }} end as {{ column_type(definition[1]) }}) as {{ attribute }}
        {%- endfor %},
    case when {{ can_answer(unit) }} then record_id end as {{ name }}_record_id,
    case when {{ can_answer(unit) }} then {{ name }}__rule end as {{ name }}_rule,
    case when {{ can_answer(unit) }} then {{ name }}__version end as {{ name }}_rule_version
    {%- endfor %}
from {{ relation }} as records
inner join lone on records.{{ id }} = lone.lone_id
left join priorities on records.source_system = priorities.priority_source
{%- endmacro %}


{#-
  The records of a child entity with their order, and whether the order's aggregates count them.

  Several systems may each tell the whole story of an order's payments (or refunds, shipments, returns): the sets of two
  systems are never added up. Per order the best source by the entity's rules counts. The columns are the child's, then
  order_id, is_shared, source_kind and is_counted. A child of a document that stands for several orders belongs to none of
  them alone; with_shared gives a row for each, with is_shared true.
-#}
{% macro counted_children(entity, with_shared=false) %}
select
    children.*,
    xref.order_id,
    coalesce(xref.is_shared, false) as is_shared,
    priorities.source_kind,
    case
        when xref.order_id is null then false
        else children.source_system = first_value(children.source_system) over (
            partition by xref.order_id
            order by
                coalesce(priorities.{{ entity }}_priority, 99),
                coalesce(priorities.priority_authority, 99),
                {{ code_point_order('children.source_system') }}
        )
    end as is_counted
from {{ ref('int_' ~ entity) }} as children
left join {{ ref('order_xref') }} as xref
    on children.order_record_id = xref.record_id and xref.is_current{{ '' if with_shared else ' and not xref.is_shared' }}
left join (
{{ source_priorities('order', [entity]) }}
) as priorities on children.source_system = priorities.priority_source
{%- endmacro %}


{#- SQL list of the sources that feed an entity, for "is this order told by a system that would know?"; never empty. -#}
{% macro sources_feeding(entity) -%}
    ({% for source in var('sources_by_entity')[entity] %}'{{ source }}', {% endfor %}'')
{%- endmacro %}
