{#- The schema is the layer's plain name on every target: staging, intermediate, marts, seeds. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
