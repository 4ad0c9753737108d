{#-
  Newest version of each record of an append-only landing relation.

  relation: the landing source. keys: columns that name a record. order: the source's own update time (a column, an
  expression or a list of them), newest first; where it ties or is null, the version landed last wins. A version that
  landed several times unchanged (overlapping cursors) keeps its first landing as lineage, so that a pull with
  nothing new changes nothing. Adds _first_seen_at (first landing of any version) and _version_rank (always 1).
-#}
{% macro latest(relation, keys, order=none) %}
    {%- set by = ([order] if order is string else order) if order else [] %}
select *
from (
    select
        versions.*,
        row_number() over (
            partition by {{ keys | join(', ') }}
            order by
                {%- for column in by %}
                {{ column }} desc nulls last,
                {%- endfor %}
                _version_seen_at desc, _version_batch_id desc, _version_row_index desc,
                _extracted_at, _batch_id, _row_index
        ) as _version_rank
    from (
        select
            landed.*,
            min(_extracted_at) over (partition by {{ keys | join(', ') }}) as _first_seen_at,
            max(_extracted_at) over (partition by {{ keys | join(', ') }}, _record_hash) as _version_seen_at,
            max(_batch_id) over (partition by {{ keys | join(', ') }}, _record_hash) as _version_batch_id,
            max(_row_index) over (partition by {{ keys | join(', ') }}, _record_hash) as _version_row_index
        from {{ relation }} as landed
    ) as versions
) as ranked
where _version_rank = 1
{%- endmacro %}


{#-
  Child rows that came with the newest version of their parent; one row per key.

  relation: the child's landing source. parent_relation: the parent's stg_ model (newest versions). parent_keys: the
  parent's key columns, as a list where the child names them alike, else {child column: parent column}. keys: columns
  that name a child row. A child that the newest parent no longer has is gone.
-#}
{% macro latest_children(relation, parent_relation, parent_keys, keys) %}
    {%- set pairs = parent_keys.items() if parent_keys is mapping else zip(parent_keys, parent_keys) %}
select *
from (
    select
        landed.*,
        parent._first_seen_at as _first_seen_at,
        row_number() over (
            partition by {% for key in keys %}landed.{{ key }}{{ ', ' if not loop.last }}{% endfor %}
            order by landed._extracted_at, landed._batch_id, landed._row_index
        ) as _version_rank
    from {{ relation }} as landed
    inner join {{ parent_relation }} as parent
        on landed._parent_hash = parent._record_hash
        {%- for child, parent_column in pairs %}
        and landed.{{ child }} = parent.{{ parent_column }}
        {%- endfor %}
) as ranked
where _version_rank = 1
{%- endmacro %}
