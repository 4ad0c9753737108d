{#- The dated links of one entity as identity wrote them; is_current marks the link to use now. -#}
{% macro crosswalk(entity) -%}
select
    cast(record_id as {{ column_type('text') }}) as record_id,
    cast({{ entity }}_id as {{ column_type('text') }}) as {{ entity }}_id,
    cast(match_rule as {{ column_type('text') }}) as match_rule,
    cast(valid_from as {{ column_type('instant') }}) as valid_from,
    cast(valid_to as {{ column_type('instant') }}) as valid_to,
    valid_to is null as is_current
from {{ source('identity', entity ~ '_xref') }}
{%- endmacro %}
