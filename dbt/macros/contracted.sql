{#-
  The columns of the model's contract, in its order, each cast to its type.

  columns: {name: SQL expression} for those that are not simply a column of that name of `relation` (an alias in the
  calling query). The yml is the only place that lists a model's columns.
-#}
{% macro contracted(columns={}, relation=none) -%}
    {%- set prefix = relation ~ '.' if relation else '' -%}
    {%- if execute -%}
        {%- for name in columns if name not in model.columns -%}
            {{ exceptions.raise_compiler_error(model.name ~ ": '" ~ name ~ "' is not in the contract") }}
        {%- endfor -%}
    {%- endif -%}
    {%- for name, column in model.columns.items() %}
    cast({{ columns.get(name, prefix ~ name) }} as {{ column.data_type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{#- The contract's columns as typed nulls, for a model that no source feeds yet. -#}
{% macro contracted_empty() -%}
    {%- for name, column in model.columns.items() %}
    cast(null as {{ column.data_type }}) as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}
