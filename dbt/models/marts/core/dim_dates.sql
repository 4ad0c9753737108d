-- Every date of the years in which orders were placed.
with bounds as (
    select
        min(extract(year from ordered_at)) as first_year,
        max(extract(year from ordered_at)) as last_year
    from {{ ref('fct_orders') }}
),

dates as (
{{ date_series(
    "cast(cast(cast(first_year as integer) as " ~ column_type('text') ~ ") || '-01-01' as date)",
    "cast(cast(cast(last_year as integer) as " ~ column_type('text') ~ ") || '-12-31' as date)"
) }}
    from bounds
    where first_year is not null
)

select {{ contracted({
    'year': date_part_of('year', 'date_on'),
    'quarter': date_part_of('quarter', 'date_on'),
    'month': date_part_of('month', 'date_on'),
    'day_of_month': date_part_of('day', 'date_on'),
    'iso_week': date_part_of('week', 'date_on'),
    'iso_day_of_week': date_part_of('isodow', 'date_on'),
    'is_weekend': date_part_of('isodow', 'date_on') ~ ' >= 6',
}) }}
from dates
