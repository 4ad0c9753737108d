{#- Whole microseconds from start to finish (negative when finish is earlier); null when either is. -#}
{% macro microseconds_between(start, finish) -%}
    {{ adapter.dispatch('microseconds_between')(start, finish) }}
{%- endmacro %}

{% macro default__microseconds_between(start, finish) -%}
    date_diff('microsecond', {{ start }}, {{ finish }})
{%- endmacro %}

{% macro postgres__microseconds_between(start, finish) -%}
    cast(extract(epoch from ({{ finish }} - {{ start }})) * 1000000 as bigint)
{%- endmacro %}

{% macro spark__microseconds_between(start, finish) -%}
    timestampdiff(microsecond, {{ start }}, {{ finish }})
{%- endmacro %}


{#- Hours from start to finish, signed, numeric(18,4), rounded half away from zero. -#}
{% macro hours_between(start, finish) -%}
    {{ rounded_ratio(microseconds_between(start, finish), 3600000000, 'hours') }}
{%- endmacro %}


{#- Whole seconds from start to finish, truncated towards zero. -#}
{% macro seconds_between(start, finish) -%}
    {{ integer_divide(microseconds_between(start, finish), 1000000) }}
{%- endmacro %}


{#-
  The UTC instant at which a clock of an IANA zone shows the digits of a timestamp. Of an hour that the clock shows twice it
  is the second, of one that it leaves out what it would have been without the jump.
-#}
{% macro instant_of_clock(expression, zone) -%}
    {{ adapter.dispatch('instant_of_clock')(expression, zone) }}
{%- endmacro %}

{% macro default__instant_of_clock(expression, zone) -%}
    (({{ expression }}) at time zone '{{ zone }}') at time zone 'UTC'
{%- endmacro %}

{#- Spark takes the first of two hours. -#}
{% macro spark__instant_of_clock(expression, zone) -%}
    {%- set first = "convert_timezone('" ~ zone ~ "', 'UTC', " ~ expression ~ ")" -%}
    case
        when convert_timezone('UTC', '{{ zone }}', {{ first }} + interval 1 hour) = {{ expression }}
            then {{ first }} + interval 1 hour
        else {{ first }}
    end
{%- endmacro %}


{#- The UTC calendar date of an instant. -#}
{% macro date_of(expression) -%}
    cast({{ expression }} as date)
{%- endmacro %}


{#- An integer part of a date. part: year, quarter, month, week (ISO), isodow (1 = Monday), day, doy. -#}
{% macro date_part_of(part, expression) -%}
    {{ adapter.dispatch('date_part_of')(part, expression) }}
{%- endmacro %}

{% macro default__date_part_of(part, expression) -%}
    cast(extract({{ part }} from {{ expression }}) as bigint)
{%- endmacro %}

{% macro spark__date_part_of(part, expression) -%}
    {{ 'weekday(' ~ expression ~ ') + 1' if part == 'isodow' else 'cast(extract(' ~ part ~ ' from ' ~ expression ~ ') as bigint)' }}
{%- endmacro %}


{#- One row per date from first to last (SQL expressions of type date), column date_on. -#}
{% macro date_series(first, last) -%}
    {{ adapter.dispatch('date_series')(first, last) }}
{%- endmacro %}

{% macro default__date_series(first, last) -%}
    select cast(unnest(generate_series({{ first }}, {{ last }}, interval 1 day)) as date) as date_on
{%- endmacro %}

{% macro postgres__date_series(first, last) -%}
    select cast(generate_series({{ first }}, {{ last }}, interval '1 day') as date) as date_on
{%- endmacro %}

{% macro spark__date_series(first, last) -%}
    select explode(sequence({{ first }}, {{ last }})) as date_on
{%- endmacro %}


{#- The date so many days after a date. -#}
{% macro days_after(date, days) -%}
    {{ adapter.dispatch('days_after')(date, days) }}
{%- endmacro %}

{% macro default__days_after(date, days) -%}
    cast(({{ date }}) + {{ days }} as date)
{%- endmacro %}

{% macro spark__days_after(date, days) -%}
    date_add({{ date }}, {{ days }})
{%- endmacro %}
