{#- ISO 4217 code that the group view is in. -#}
{% macro reporting_currency() %}
    {{ return(env_var('ORDERHUB_REPORTING_CURRENCY', var('reporting_currency'))) }}
{% endmacro %}


{#-
  Units of the second currency for one of the first, to eight decimals, half-even, from what one euro was worth in each.

  Integer arithmetic, since engines divide decimals differently. Rates have at most six decimals; a rate above 90,000 to the
  euro gives null rather than an overflow.
-#}
{% macro fx_cross_rate(from_rate, to_rate) -%}
    {%- set numerator = "cast(" ~ to_rate ~ " * 1000000 as bigint) * 100000000" -%}
    case when ({{ to_rate }}) < 90000 then
        {{ half_even_ratio(numerator, "cast(" ~ from_rate ~ " * 1000000 as bigint)", "0.00000001", 9, "rate") }}
    end
{%- endmacro %}


{#- numerator / denominator of two positive integers in units of the last decimal, half-even. -#}
{% macro half_even_ratio(numerator, denominator, unit, digits, kind) -%}
    {%- set whole = integer_divide(numerator, denominator) -%}
    {%- set twice_rest = "2 * ((" ~ numerator ~ ") - (" ~ denominator ~ ") * " ~ whole ~ ")" -%}
    cast(
        cast(
            {{ whole }} + case
                when {{ twice_rest }} > ({{ denominator }}) then 1
                when {{ twice_rest }} = ({{ denominator }}) and {{ whole }} % 2 = 1 then 1
                else 0
            end as numeric(18, 0)
        ) * cast({{ unit }} as numeric({{ digits }}, {{ digits - 1 }}))
        as {{ column_type(kind) }}
    )
{%- endmacro %}


{#- An amount times a rate (numeric(18,8)), to four decimals, half-even; null when either is. -#}
{% macro fx_converted(amount, rate) -%}
    {{ half_even("cast((" ~ amount ~ ") * (" ~ rate ~ ") as numeric(30, 12))") }}
{%- endmacro %}


{#- A numeric(30,12) rounded to an amount's four decimals, half-even: a cast rounds ties away from zero on every engine. -#}
{% macro half_even(value) -%}
    {%- set rounded = "cast(" ~ value ~ " as " ~ column_type('amount') ~ ")" -%}
    cast(
        {{ rounded }} - case
            when
                abs({{ rounded }} - {{ value }}) = cast(0.00005 as numeric(6, 5))
                and cast({{ rounded }} * 10000 as bigint) % 2 <> 0
                then case when {{ value }} < 0 then -1 else 1 end * cast(0.0001 as numeric(5, 4))
            else 0
        end
        as {{ column_type('amount') }}
    )
{%- endmacro %}
