{#-
  JSON array text of a row, the same on every engine: contract order, nulls as null, texts quoted, decimals in full scale.

  columns: the model's columns; those with meta volatile (ids and times of processing, the hash itself) are left out.
-#}
{% macro canonical_row(columns) -%}
    {%- set kinds = {'text': 'text', 'boolean': 'boolean', 'timestamp': 'instant'} -%}
    {%- set texts = [] -%}
    {%- for name, column in columns.items() if not column.meta.get('volatile') -%}
        {%- set value = json_text(name) if column.data_type == 'text' else canonical_text(name, kinds.get(column.data_type, 'number')) -%}
        {%- do texts.extend(["'['" if loop.first else "','", 'coalesce(' ~ value ~ ", 'null')"]) -%}
    {%- endfor -%}
    {{ joined_text(texts + ["']'"]) }}
{%- endmacro %}
