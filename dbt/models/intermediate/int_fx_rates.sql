-- Each rate holds from its day until the next one is published, but no longer than fx_rate_max_age_days. The euro is worth
-- one euro on every day that any currency has a rate.
with believed as (
    select
        rates.*,
        row_number() over (
            partition by rates.quote_currency, rates.rate_on
            order by coalesce(systems.authority, 99), {{ code_point_order('rates.source_system') }}
        ) as believed_rank
    from {{ ref('int_reference_rates') }} as rates
    left join {{ ref('source_systems') }} as systems on rates.source_system = systems.source_system
    where rates.base_currency = 'EUR' and rates.quote_currency <> 'EUR' and rates.rate > 0
),

bounds as (
    select min(rate_on) as first_on, {{ days_after('max(rate_on)', var('fx_rate_max_age_days')) }} as last_on
    from believed
),

days as (
{{ date_series('first_on', 'last_on') }}
    from bounds
    where first_on is not null
),

currencies as (
    select distinct quote_currency from believed
),

-- A day's count of rates so far names the rate that holds on it.
counted as (
    select
        days.date_on,
        currencies.quote_currency,
        believed.rate,
        believed.rate_on,
        believed.source_system,
        believed.record_id,
        count(believed.rate) over (
            partition by currencies.quote_currency
            order by days.date_on
            rows between unbounded preceding and current row
        ) as rate_number
    from days
    cross join currencies
    left join believed
        on
            days.date_on = believed.rate_on
            and currencies.quote_currency = believed.quote_currency
            and believed.believed_rank = 1
),

held as (
    select
        date_on,
        quote_currency,
        max(rate) over (partition by quote_currency, rate_number) as rate,
        max(rate_on) over (partition by quote_currency, rate_number) as rate_on,
        max(source_system) over (partition by quote_currency, rate_number) as source_system,
        max(record_id) over (partition by quote_currency, rate_number) as record_id
    from counted
    where rate_number > 0
)

select
    quote_currency as currency,
    date_on as valid_on,
    cast(rate as {{ column_type('rate') }}) as eur_rate,
    rate_on,
    source_system as fx_source,
    record_id as reference_rate_id
from held
where date_on <= {{ days_after('rate_on', var('fx_rate_max_age_days')) }}

union all

select distinct
    'EUR' as currency,
    date_on as valid_on,
    cast(1 as {{ column_type('rate') }}) as eur_rate,
    cast(null as date) as rate_on,
    cast(null as {{ column_type('text') }}) as fx_source,
    cast(null as {{ column_type('text') }}) as reference_rate_id
from held
where date_on <= {{ days_after('rate_on', var('fx_rate_max_age_days')) }}
