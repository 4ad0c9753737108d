{#- Integer quotient truncated towards zero; both sides are integers. -#}
{% macro integer_divide(numerator, denominator) -%}
    {{ adapter.dispatch('integer_divide')(numerator, denominator) }}
{%- endmacro %}

{% macro default__integer_divide(numerator, denominator) -%}
    (({{ numerator }}) // ({{ denominator }}))
{%- endmacro %}

{% macro postgres__integer_divide(numerator, denominator) -%}
    (({{ numerator }}) / ({{ denominator }}))
{%- endmacro %}

{% macro spark__integer_divide(numerator, denominator) -%}
    (({{ numerator }}) div ({{ denominator }}))
{%- endmacro %}


{#-
  numerator / denominator of two integers (denominator positive) to four decimals, half away from zero.

  Integer arithmetic: engines divide decimals differently, and the answer must not depend on the engine.
-#}
{% macro rounded_ratio(numerator, denominator, kind='ratio') -%}
    cast(
        case when ({{ numerator }}) < 0 then -1 else 1 end
        * cast({{ integer_divide(
            'abs(cast(' ~ numerator ~ ' as bigint)) * 20000 + ' ~ denominator, '2 * (' ~ denominator ~ ')'
        ) }} as numeric(18, 0)) * cast(0.0001 as numeric(5, 4))
        as {{ column_type(kind) }}
    )
{%- endmacro %}


{#- The number, whole or decimal and not negative, that a text people typed consists of; null where it is none. -#}
{% macro number_in(expression, kind) -%}
    cast(
        case
            when {{ expression }} is null or translate({{ expression }}, '0123456789.', '') <> ''
                or length({{ expression }}) - length(replace({{ expression }}, '.', '')) > 1
                or length(replace({{ expression }}, '.', '')) not between 1 and 14
                then null
            else {{ expression }}
        end as {{ column_type(kind) }}
    )
{%- endmacro %}
