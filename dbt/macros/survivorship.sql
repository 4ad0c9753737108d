{#- Order of trust of the sources: one row per source, a priority and a rule column per attribute group. -#}
{% macro source_priorities(entity, rule_groups) %}
    select
        systems.source_system as priority_source,
        min(systems.authority) as priority_authority,
        min(systems.kind) as source_kind
        {%- for group in rule_groups %},
        min(case when rules.attribute_group = '{{ group }}' then rules.priority end) as {{ group }}_priority,
        min(case when rules.attribute_group = '{{ group }}' then rules.rule end) as {{ group }}_rule
        {%- endfor %}
    from {{ ref('source_systems') }} as systems
    left join {{ ref('survivorship_rules') }} as rules
        on systems.kind = rules.source_kind and rules.entity = '{{ entity }}'
    group by systems.source_system
{%- endmacro %}


{#-
  One row per golden id: each attribute group whole from the one record that survives for it.

  relation: records with source_system, record_id, source_updated_at and the id column; rows without an id are left out.
  groups: {group: {rules: seed group, anchor: SQL that is null when the record cannot answer, attributes: {name: (SQL,
  kind)}, where: optional SQL condition}}. Gives the id, every attribute, and <group>_record_id and <group>_rule, which
  say where the group came from (null when no record could answer).
-#}
{% macro survive(relation, id, entity, groups) %}
    {%- set rule_groups = groups.values() | map(attribute='rules') | unique | list %}
with priorities as (
{{ source_priorities(entity, rule_groups) }}
),

ranked as (
    select
        records.*
        {%- for name, group in groups.items() %},
        {{ group.rules }}_rule as {{ name }}__rule,
        case when {{ group.anchor }} is not null
            {%- if group.where %} and {{ group.where }}{% endif %} then 1 end as {{ name }}__can,
        row_number() over (
            partition by {{ id }}
            order by
                case when {{ group.anchor }} is not null
                    {%- if group.where %} and {{ group.where }}{% endif %} then 0 else 1 end,
                case {{ group.rules }}_rule
                    when 'most_recent' then 0
                    when 'most_complete' then -(0
                        {%- for expression, kind in group.attributes.values() %} + case when {{ expression }} is not null then 1 else 0 end
                        {%- endfor %})
                    else coalesce({{ group.rules }}_priority, 99)
                end,
                source_updated_at desc nulls last,
                coalesce(priority_authority, 99),
                {{ code_point_order('record_id') }}
        ) as {{ name }}__rank
        {%- endfor %}
    from {{ relation }} as records
    left join priorities on records.source_system = priorities.priority_source
    where {{ id }} is not null
)

select
    {{ id }}
    {%- for name, group in groups.items() %}
        {%- set survives = name ~ '__rank = 1 and ' ~ name ~ '__can = 1' %}
        {%- for attribute, definition in group.attributes.items() %},
            {%- if definition[1] == 'boolean' %}
    max(case when {{ survives }} then case when {{ definition[0] }} then 1 when not {{ definition[0] }} then 0 end end) = 1
        as {{ attribute }}
            {%- else %}
    cast(max(case when {{ survives }} then {{ definition[0] }} end) as {{ column_type(definition[1]) }}) as {{ attribute }}
            {%- endif %}
        {%- endfor %},
    max(case when {{ survives }} then record_id end) as {{ name }}_record_id,
    max(case when {{ survives }} then {{ name }}__rule end) as {{ name }}_rule
    {%- endfor %}
from ranked
group by {{ id }}
{%- endmacro %}


{#-
  The records of a child entity with their order, and whether the order's aggregates count them.

  Several systems may each tell the whole story of an order's payments (or refunds, shipments, returns): the sets of two
  systems are never added up. Per order the best source by the group's rules counts. The columns are the child's, then
  order_id, source_kind and is_counted.
-#}
{% macro counted_children(entity, group) %}
select
    children.*,
    xref.order_id,
    priorities.source_kind,
    case
        when xref.order_id is null then false
        else children.source_system = first_value(children.source_system) over (
            partition by xref.order_id
            order by
                coalesce(priorities.{{ group }}_priority, 99),
                coalesce(priorities.priority_authority, 99),
                {{ code_point_order('children.source_system') }}
        )
    end as is_counted
from {{ ref('int_' ~ entity) }} as children
left join {{ ref('order_xref') }} as xref on children.order_record_id = xref.record_id and xref.is_current
left join (
{{ source_priorities('order', [group]) }}
) as priorities on children.source_system = priorities.priority_source
{%- endmacro %}


{#- SQL list of the sources that feed an entity, for "is this order told by a system that would know?"; never empty. -#}
{% macro sources_feeding(entity) -%}
    ({% for source in var('sources_by_entity')[entity] %}'{{ source }}', {% endfor %}'')
{%- endmacro %}
