{#- What a lot is known by across systems: its trade item number and its number. Null where either is. -#}
{% macro lot_id(gtin14, lot_number) -%}
    ({{ gtin14 }} || '/' || {{ lot_number }})
{%- endmacro %}


{#- Degrees Celsius of a temperature in a UN/ECE Rec 20 unit; null in a unit that measures none. -#}
{% macro celsius(expression, uom) -%}
    cast(
        case {{ uom }}
            when 'CEL' then {{ expression }}
            when 'FAH' then cast(({{ expression }} - 32) * cast(0.5555555556 as numeric(11, 10)) as numeric(18, 4))
            when 'KEL' then {{ expression }} - cast(273.15 as numeric(5, 2))
        end as {{ column_type('quantity') }}
    )
{%- endmacro %}
