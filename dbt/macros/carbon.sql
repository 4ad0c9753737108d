{#- Whole milligrams of a mass in kilograms: sums of whole numbers are the same on every engine. -#}
{% macro milligrams(expression) -%}
    cast(cast(({{ expression }}) * 1000000 as numeric(18, 0)) as bigint)
{%- endmacro %}
