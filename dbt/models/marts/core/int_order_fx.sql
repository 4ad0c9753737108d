{{ config(schema='intermediate') }}
-- One row per order: the rate that turns its currency into the reporting currency, and its money in that. The rate is the
-- last one published on or before the order's day (UTC); without one that is young enough nothing is converted.
with dated as (
    select
        money.order_id,
        money.currency,
        money.net_amount,
        money.contribution_margin_amount,
        cast('{{ reporting_currency() }}' as {{ column_type('text') }}) as reporting_currency,
        {{ date_of('timings.ordered_at') }} as ordered_on
    from {{ ref('int_order_money') }} as money
    left join {{ ref('int_order_timings') }} as timings on money.order_id = timings.order_id
),

rated as (
    select
        dated.*,
        case
            when dated.currency = dated.reporting_currency then cast(1 as {{ column_type('rate') }})
            else {{ fx_cross_rate('own.eur_rate', 'reporting.eur_rate') }}
        end as fx_rate,
        case
            when dated.currency = dated.reporting_currency then dated.ordered_on
            else least(coalesce(own.rate_on, reporting.rate_on), coalesce(reporting.rate_on, own.rate_on))
        end as rate_on,
        case
            when dated.currency = dated.reporting_currency then 'same_currency'
            else coalesce(own.fx_source, reporting.fx_source)
        end as rate_source,
        case when dated.currency <> dated.reporting_currency then own.reference_rate_id end as own_rate_id,
        case when dated.currency <> dated.reporting_currency then reporting.reference_rate_id end as reporting_rate_id
    from dated
    left join {{ ref('int_fx_rates') }} as own
        on dated.currency = own.currency and dated.ordered_on = own.valid_on
    left join {{ ref('int_fx_rates') }} as reporting
        on dated.reporting_currency = reporting.currency and dated.ordered_on = reporting.valid_on
)

select
    order_id,
    reporting_currency,
    fx_rate,
    case when fx_rate is not null then rate_on end as fx_rate_on,
    case when fx_rate is not null then rate_source end as fx_source,
    {{ fx_converted('net_amount', 'fx_rate') }} as net_reporting_amount,
    {{ fx_converted('contribution_margin_amount', 'fx_rate') }} as margin_reporting_amount,
    case when fx_rate is not null then own_rate_id end as own_rate_id,
    case when fx_rate is not null then reporting_rate_id end as reporting_rate_id
from rated
