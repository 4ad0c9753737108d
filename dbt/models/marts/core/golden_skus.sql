with survived as (
{{ survive(linked_records('sku'), 'sku_id', 'sku', golden_units('sku')) }}
)

-- Handling that no system states for the SKU itself follows from its category.
select
    survived.sku_id,
    {%- for unit, definition in golden_units('sku').items() if unit not in ('cold_chain', 'bundle') %}
    {%- for attribute in definition.attributes %}
    survived.{{ attribute }},
    {%- endfor %}
    survived.{{ unit }}_record_id,
    survived.{{ unit }}_rule,
    survived.{{ unit }}_rule_version,
    {%- endfor %}
    {%- for name, unit in {'needs_cold_chain': 'cold_chain', 'is_bundle': 'bundle'}.items() %}
    coalesce(survived.{{ name }}, categories.{{ name }}) as {{ name }},
    coalesce(
        survived.{{ unit }}_record_id, case when categories.{{ name }} is not null then survived.category_record_id end
    ) as {{ unit }}_record_id,
    coalesce(survived.{{ unit }}_rule, case when categories.{{ name }} is not null then 'category' end) as {{ unit }}_rule,
    coalesce(
        survived.{{ unit }}_rule_version, case when categories.{{ name }} is not null then survived.category_rule_version end
    ) as {{ unit }}_rule_version
        {{- ',' if not loop.last }}
    {%- endfor %}
from survived
left join {{ ref('categories') }} as categories on survived.category_code = categories.category_code
