-- One row per order with the amounts the measures of semantic model `orders` add up. Only practised orders are left out,
-- cancelled ones count as orders without sales.
with settled as (
    select order_id, max(settled_on) as settled_on
    from {{ ref('fin_settlements') }}
    where order_id is not null and line_kind = 'charge'
    group by order_id
    having count(settled_on) = count(*)
),

refunded as (
    select order_id, count(*) as refund_count
    from {{ ref('fct_refunds') }}
    where is_counted and order_id is not null
    group by order_id
),

measured as (
    select
        orders.*,
        {{ date_of('orders.ordered_at') }} as ordered_on,
        settled.settled_on,
        case when orders.order_status = 'cancelled' then 1 else 0 end as is_cancelled_number,
        case when refunded.order_id is not null or coalesce(orders.return_count, 0) > 0 then 1 else 0 end as is_returned_number
    from {{ ref('fct_orders') }} as orders
    left join settled on orders.order_id = settled.order_id
    left join refunded on orders.order_id = refunded.order_id
    where not coalesce(orders.is_test, false)
)

select {{ contracted({
    'period': period_of('ordered_on'),
    'gross_amount': "case when is_cancelled_number = 0 then gross_amount end",
    'net_amount': "case when is_cancelled_number = 0 then net_amount end",
    'margin_amount': "case when is_cancelled_number = 0 then contribution_margin_amount end",
    'net_reporting_amount': "case when is_cancelled_number = 0 then net_reporting_amount end",
    'margin_reporting_amount': "case when is_cancelled_number = 0 then margin_reporting_amount end",
    'unconverted_net_amount': "case when is_cancelled_number = 0 and net_reporting_amount is null then net_amount end",
    'sold_count': '1 - is_cancelled_number',
    'returned_count': '(1 - is_cancelled_number) * is_returned_number',
    'days_to_settle': days_between('ordered_on', 'settled_on'),
}) }}
from measured
