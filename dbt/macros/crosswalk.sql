{#-
  The dated links of one entity as identity wrote them; is_current marks the link to use now.

  gone: name of a CTE with record_id and noticed_at of what its source deleted; it stays linked, since documents go on naming it,
  and says so.
-#}
{% macro crosswalk(entity, gone=none) -%}
select
    cast(links.record_id as {{ column_type('text') }}) as record_id,
    cast(links.{{ entity }}_id as {{ column_type('text') }}) as {{ entity }}_id,
    cast(links.match_rule as {{ column_type('text') }}) as match_rule,
    cast(links.valid_from as {{ column_type('instant') }}) as valid_from,
    cast(links.valid_to as {{ column_type('instant') }}) as valid_to,
    links.valid_to is null as is_current
    {%- if gone %},
    {{ gone }}.noticed_at as source_deleted_at
    {%- endif %}
from {{ source('identity', entity ~ '_xref') }} as links
{%- if gone %}
left join {{ gone }} on links.record_id = {{ gone }}.record_id
{%- endif %}
{%- endmacro %}


{#- An entity's current records with their golden id; what its source deleted tells nothing while another record is left. -#}
{% macro linked_records(entity) -%}
(
    select records.*, xref.{{ entity }}_id
    from {{ ref('int_' ~ entity ~ '_records') }} as records
    inner join {{ ref(entity ~ '_xref') }} as xref on records.record_id = xref.record_id and xref.is_current
    left join (
        select distinct {{ entity }}_id from {{ ref(entity ~ '_xref') }} where is_current and source_deleted_at is null
    ) as held on xref.{{ entity }}_id = held.{{ entity }}_id
    where xref.source_deleted_at is null or held.{{ entity }}_id is null
)
{%- endmacro %}


{#- When each order document was first linked: whom a key means that was given to somebody else since, depends on it. -#}
{% macro first_links() -%}
select record_id, min(valid_from) as linked_at
from {{ ref('order_xref') }}
group by record_id
{%- endmacro %}


{#-
  Join who had a key when a document that names it was first linked, where somebody else has it by now.

  entity: of the key. alias: of its crosswalk in the query; the joined relation is former_<alias>. key: names a record.
  linked_at: of the document, from first_links().
-#}
{% macro join_former(entity, alias, key, linked_at) -%}
left join {{ source('identity', 'former_links') }} as former_{{ alias }}
    on
        former_{{ alias }}.entity = '{{ entity }}'
        and {{ key }} = former_{{ alias }}.record_id
        and {{ linked_at }} < cast(former_{{ alias }}.held_to as {{ column_type('instant') }})
        and (
            former_{{ alias }}.held_from is null
            or {{ linked_at }} >= cast(former_{{ alias }}.held_from as {{ column_type('instant') }})
        )
{%- endmacro %}


{#- Golden id of who had a key then, as joined by join_former, else of who has it now; null where nobody took over. -#}
{% macro id_then(entity, alias) -%}
case
    when former_{{ alias }}.record_id is null then {{ alias }}.{{ entity }}_id
    else cast(former_{{ alias }}.golden_id as {{ column_type('text') }})
end
{%- endmacro %}
