{#- Text as a JSON string literal, quoted the same way on every engine; null stays null. -#}
{% macro json_text(expression) -%}
    (chr(34) || replace(replace(replace(replace(replace(
        {{ expression }},
        chr(92), chr(92) || chr(92)), chr(34), chr(92) || chr(34)),
        chr(10), chr(92) || 'n'), chr(13), chr(92) || 'r'), chr(9), chr(92) || 't') || chr(34))
{%- endmacro %}


{#- Aggregate: the distinct non-null texts, sorted by code point, as JSON array text; null when there are none. -#}
{% macro sorted_json_list(expression) -%}
    {{ adapter.dispatch('sorted_json_list')(expression) }}
{%- endmacro %}

{% macro default__sorted_json_list(expression) -%}
    ('[' || string_agg(distinct {{ json_text(expression) }}, ',' order by {{ json_text(expression) }}) || ']')
{%- endmacro %}

{% macro postgres__sorted_json_list(expression) -%}
    {#- The database's collation would sort differently from one machine to the next. -#}
    {%- set quoted = json_text(expression) ~ ' collate "C"' -%}
    ('[' || string_agg(distinct {{ quoted }}, ',' order by {{ quoted }}) || ']')
{%- endmacro %}

{% macro spark__sorted_json_list(expression) -%}
    (case when count({{ expression }}) > 0
        then '[' || array_join(array_sort(collect_set({{ json_text(expression) }})), ',') || ']' end)
{%- endmacro %}


{#- JSON array text of the texts given, in the order given; nulls are left out. -#}
{% macro json_list(expressions) -%}
    ('[' || concat_ws(','{% for expression in expressions %}, {{ json_text(expression) }}{% endfor %}) || ']')
{%- endmacro %}


{#- SHA-256 of a text's UTF-8 bytes, lower-case hexadecimal. -#}
{% macro sha256_text(expression) -%}
    {{ adapter.dispatch('sha256_text')(expression) }}
{%- endmacro %}

{% macro default__sha256_text(expression) -%}
    sha256({{ expression }})
{%- endmacro %}

{% macro postgres__sha256_text(expression) -%}
    encode(sha256(convert_to({{ expression }}, 'UTF8')), 'hex')
{%- endmacro %}

{% macro spark__sha256_text(expression) -%}
    sha2({{ expression }}, 256)
{%- endmacro %}


{#-
  Text of a value that is the same on every engine. kind: as in column_type.

  Decimals keep their full scale, instants their microseconds; null stays null.
-#}
{% macro canonical_text(expression, kind) -%}
    {%- if kind == 'text' -%}
        {{ expression }}
    {%- elif kind == 'boolean' -%}
        case when {{ expression }} then 'true' when not {{ expression }} then 'false' end
    {%- elif kind == 'instant' -%}
        {{ instant_text(expression) }}
    {%- else -%}
        cast({{ expression }} as {{ column_type('text') }})
    {%- endif -%}
{%- endmacro %}


{#- ISO 8601 text of a UTC instant, microseconds always written. -#}
{% macro instant_text(expression) -%}
    {{ adapter.dispatch('instant_text')(expression) }}
{%- endmacro %}

{% macro default__instant_text(expression) -%}
    strftime({{ expression }}, '%Y-%m-%dT%H:%M:%S.%fZ')
{%- endmacro %}

{% macro postgres__instant_text(expression) -%}
    to_char({{ expression }}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
{%- endmacro %}

{% macro spark__instant_text(expression) -%}
    date_format({{ expression }}, "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")
{%- endmacro %}


{#- A text to sort or compare by code point: a database's collation differs from one machine to the next. -#}
{% macro code_point_order(expression) -%}
    {{ adapter.dispatch('code_point_order')(expression) }}
{%- endmacro %}

{% macro default__code_point_order(expression) -%}
    {{ expression }}
{%- endmacro %}

{% macro postgres__code_point_order(expression) -%}
    {{ expression }} collate "C"
{%- endmacro %}


{#-
  Texts joined into one; none of them may be null. In one call, since a chain of || writes all it has so far anew at every step.
  PostgreSQL takes a hundred arguments, so that long lists are joined in parts.
-#}
{% macro joined_text(texts) -%}
    concat(
    {%- if texts | length > 50 %}
        {%- for part in texts | batch(50) %}
        {{ joined_text(part) }}{{ ',' if not loop.last }}
        {%- endfor %}
    {%- else %}
        {%- for text in texts %}
        {{ text }}{{ ',' if not loop.last }}
        {%- endfor %}
    {%- endif %}
    )
{%- endmacro %}
