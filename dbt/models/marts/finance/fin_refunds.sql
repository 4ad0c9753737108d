-- Refunds on their own date and on the date of the order they belong to. Both are converted at the rate of their own day;
-- without one nothing is converted, and the row says so.
with dated as (
    select
        refunds.*,
        orders.order_number,
        orders.channel,
        {{ date_of('refunds.refunded_at') }} as refunded_on,
        {{ date_of('orders.ordered_at') }} as ordered_on,
        cast('{{ reporting_currency() }}' as {{ column_type('text') }}) as reporting_currency
    from {{ ref('fct_refunds') }} as refunds
    left join {{ ref('fct_orders') }} as orders on refunds.order_id = orders.order_id
    where coalesce(refunds.is_counted, false) or refunds.order_id is null
),

rated as (
    select
        dated.*,
        {%- for day in ['refunded', 'ordered'] %}
        case
            when dated.currency = dated.reporting_currency then cast(1 as {{ column_type('rate') }})
            else {{ fx_cross_rate(day ~ '_own.eur_rate', day ~ '_reporting.eur_rate') }}
        end as {{ day }}_rate{{ ',' if not loop.last }}
        {%- endfor %}
    from dated
    {%- for day in ['refunded', 'ordered'] %}
    left join {{ ref('int_fx_rates') }} as {{ day }}_own
        on dated.currency = {{ day }}_own.currency and dated.{{ day }}_on = {{ day }}_own.valid_on
    left join {{ ref('int_fx_rates') }} as {{ day }}_reporting
        on dated.reporting_currency = {{ day }}_reporting.currency and dated.{{ day }}_on = {{ day }}_reporting.valid_on
    {%- endfor %}
)

select {{ contracted({
    'refund_period': period_of('refunded_on'),
    'order_period': period_of('ordered_on'),
    'reporting_amount': fx_converted('amount', 'refunded_rate'),
    'reporting_amount_at_order': fx_converted('amount', 'ordered_rate'),
    'is_converted': 'refunded_rate is not null',
}) }}
from rated
