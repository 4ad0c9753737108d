{{ config(schema='intermediate') }}
-- One row per order whose goods have left: what they cost by the golden SKUs' unit costs, at the rate of the order's day
-- where the cost is in another currency. Where one line's cost, unit or rate is not known, the order's is not.
with sent as (
    select
        order_id,
        currency,
        {{ date_of('record_ordered_at') }} as ordered_on
    from {{ ref('int_orders_survived') }}
    where record_status in ('shipped', 'delivered', 'closed') and currency is not null
),

costs as (
    select
        sent.order_id,
        lines.qty * skus.unit_cost_amount as cost_amount,
        case
            when skus.cost_currency = sent.currency then cast(1 as {{ column_type('rate') }})
            else {{ fx_cross_rate('own.eur_rate', 'wanted.eur_rate') }}
        end as fx_rate
    from sent
    inner join {{ ref('fct_order_lines') }} as lines on sent.order_id = lines.order_id and not lines.is_return
    left join {{ ref('golden_skus') }} as skus on lines.sku_id = skus.sku_id and lines.uom = 'C62'
    left join {{ ref('int_fx_rates') }} as own on skus.cost_currency = own.currency and sent.ordered_on = own.valid_on
    left join {{ ref('int_fx_rates') }} as wanted on sent.currency = wanted.currency and sent.ordered_on = wanted.valid_on
),

converted as (
    select
        order_id,
        {{ fx_converted('cost_amount', 'fx_rate') }} as cost_amount
    from costs
)

select
    order_id,
    cast(sum(cost_amount) as {{ column_type('amount') }}) as standard_cost_amount
from converted
group by order_id
having count(cost_amount) = count(*)
