{#- {name: column} of the contract of the model being built. A unit test does not know it, and overrides this macro. -#}
{% macro contract_columns() %}
    {{ return(model.columns) }}
{% endmacro %}


{#-
  The columns of the model's contract, in its order, each cast to its type.

  columns: {name: SQL expression} for those that are not simply a column of that name of `relation` (an alias in the
  calling query). The yml is the only place that lists a model's columns.
-#}
{% macro contracted(columns={}, relation=none) -%}
    {%- set contract = contract_columns() -%}
    {%- set prefix = relation ~ '.' if relation else '' -%}
    {%- if execute -%}
        {%- for name in columns if name not in contract -%}
            {{ exceptions.raise_compiler_error(model.name ~ ": '" ~ name ~ "' is not in the contract") }}
        {%- endfor -%}
    {%- endif -%}
    {%- for name, column in contract.items() %}
    {{ dbt.cast(columns.get(name, prefix ~ name), column.data_type) }} as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}


{#- The contract's columns as typed nulls, for a model that no source feeds yet. -#}
{% macro contracted_empty() -%}
    {%- set contract = contract_columns() -%}
    {%- for name, column in contract.items() %}
    {{ dbt.cast('null', column.data_type) }} as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
{%- endmacro %}
