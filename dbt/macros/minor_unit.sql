{#- An amount rounded to its currency's minor unit, half away from zero. digits: those of seed currencies. -#}
{% macro to_minor_unit(amount, digits) -%}
    case ({{ digits }})
        when 0 then cast(cast({{ amount }} as numeric(18, 0)) as {{ column_type('amount') }})
        when 1 then cast(cast({{ amount }} as numeric(18, 1)) as {{ column_type('amount') }})
        when 2 then cast(cast({{ amount }} as numeric(18, 2)) as {{ column_type('amount') }})
        when 3 then cast(cast({{ amount }} as numeric(18, 3)) as {{ column_type('amount') }})
        else cast({{ amount }} as {{ column_type('amount') }})
    end
{%- endmacro %}


{#- One minor unit of a currency. digits: those of seed currencies. -#}
{% macro minor_unit(digits) -%}
    cast(case ({{ digits }}) when 0 then 1 when 1 then 0.1 when 2 then 0.01 when 3 then 0.001 else 0.0001 end
        as {{ column_type('amount') }})
{%- endmacro %}


{#- The accounting period of a date: its month, such as 2026-10. -#}
{% macro period_of(date) -%}
    substr(cast({{ date }} as {{ column_type('text') }}), 1, 7)
{%- endmacro %}


{#- Whole days from a date to a later one; null when either is. -#}
{% macro days_between(first, last) -%}
    {{ adapter.dispatch('days_between')(first, last) }}
{%- endmacro %}

{% macro default__days_between(first, last) -%}
    (cast({{ last }} as date) - cast({{ first }} as date))
{%- endmacro %}

{% macro spark__days_between(first, last) -%}
    datediff({{ last }}, {{ first }})
{%- endmacro %}
