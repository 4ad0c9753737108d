{#-
  UN/ECE Recommendation 20 code of a unit as systems name or abbreviate it; null for one that is not known.

  Source: UN/ECE Recommendation 20.
-#}
{% macro rec20_unit(expression) -%}
    case lower(trim({{ expression }}))
        when 'units' then 'C62' when 'unit' then 'C62' when 'unit(s)' then 'C62' when 'u' then 'C62'
        when 'pcs' then 'C62' when 'dozens' then 'DZN' when 'dozen' then 'DZN'
        when 'kg' then 'KGM' when 'kilogram' then 'KGM' when 'g' then 'GRM' when 'gram' then 'GRM'
        when 'l' then 'LTR' when 'liter' then 'LTR' when 'litre' then 'LTR' when 'liters' then 'LTR'
        when 'ml' then 'MLT' when 'milliliter' then 'MLT'
        when 'h' then 'HUR' when 'hours' then 'HUR' when 'd' then 'DAY' when 'days' then 'DAY'
    end
{%- endmacro %}
