{#- What Spark calls a type that contracts and seeds name as the other engines do. -#}
{% macro spark_type(data_type) -%}
    {{ return({'text': 'string', 'timestamp': 'timestamp_ntz', 'double precision': 'double'}.get(data_type, data_type)) }}
{%- endmacro %}

{% macro spark__cast(field, type) -%}
    cast({{ field }} as {{ spark_type(type) }})
{%- endmacro %}

{% macro spark__create_csv_table(model, agate_table) %}
    {%- set column_types = model['config'].get('column_types', {}) -%}
    {%- for name in column_types -%}
        {%- do column_types.update({name: spark_type(column_types[name])}) -%}
    {%- endfor -%}
    {{ return(dbt.spark__create_csv_table(model, agate_table)) }}
{% endmacro %}


{#- As literals: the session connection puts bindings in without escaping, and decimals through a float. -#}
{% macro spark__load_csv_rows(model, agate_table) %}
    {%- set types = model['config'].get('column_types', {}) -%}
    {%- set statements = [] -%}
    {%- for rows in agate_table.rows | batch(get_batch_size()) -%}
        {%- set statement -%}
            insert into {{ this }} values
            {%- for row in rows %}
            (
                {%- for name in agate_table.column_names -%}
                    {%- set literal = 'null' if row[name] is none
                        else "'" ~ (row[name] | string | replace('\\', '\\\\') | replace("'", "\\'")) ~ "'" -%}
                    {{ dbt.cast(literal, types[name]) }}{{ ', ' if not loop.last }}
                {%- endfor -%}
            ){{ ',' if not loop.last }}
            {%- endfor %}
        {%- endset -%}
        {%- do adapter.add_query(statement, abridge_sql_log=True) -%}
        {%- do statements.append(statement) -%}
    {%- endfor -%}
    {{ return(statements | first) }}
{% endmacro %}


{#- Plain tables of Spark take no constraints: what the contract wants filled is looked at once the table is there. -#}
{% macro spark__persist_constraints(relation, model) %}
    {%- set filled = [] -%}
    {%- for name, column in model.columns.items() if 'not_null' in column.constraints | map(attribute='type') | map('string') -%}
        {%- do filled.append(name) -%}
    {%- endfor -%}
    {%- if filled -%}
        {% call statement('filled') -%}
            select assert_true(count(*) = 0, '{{ relation }}: null where the contract wants a value: {{ filled | join(", ") }}')
            from {{ relation }} where {{ filled | join(' is null or ') }} is null
        {%- endcall %}
    {%- endif -%}
{% endmacro %}
