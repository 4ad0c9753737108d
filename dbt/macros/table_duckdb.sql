{#-
  A table on DuckDB, made in one statement instead of built beside and renamed: there is one writer at a time, and the
  transaction around it rolls back whole. Hooks, grants, indexes and foreign keys, which this project does not use, are
  left out.
-#}
{% materialization table, adapter='duckdb', supported_languages=['sql'] %}
    {%- set former = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='table') -%}

    {% call statement('main') -%}
        {% if former is not none -%}
            drop {{ former.type }} if exists {{ former }} cascade;
        {% endif -%}
        {{ create_table_as(False, target, compiled_code) }}
    {%- endcall %}

    {{ adapter.commit() }}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}
