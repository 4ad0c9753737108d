{{ config(schema='intermediate') }}
-- One row per order with at least one step: the instants side by side, and what follows from them.
with rests as (
    select
        order_id,
        occurred_at,
        event_type,
        lag(occurred_at) over (partition by order_id order by occurred_at, step_order) as rested_from,
        lag(event_type) over (partition by order_id order by occurred_at, step_order) as rested_after,
        step_order
    from {{ ref('int_order_steps') }}
    where is_step
),

ranked_rests as (
    select
        order_id,
        rested_after || '>' || event_type as dwell_step,
        {{ hours_between('rested_from', 'occurred_at') }} as dwell_hours,
        row_number() over (
            partition by order_id
            order by {{ microseconds_between('rested_from', 'occurred_at') }} desc, step_order
        ) as rest_rank
    from rests
    where rested_from is not null
),

instants as (
    select
        order_id,
        {%- for attribute in [
            'ordered_at', 'payment_verified_at', 'stock_reserved_at', 'picked_at', 'packed_at', 'dispatched_at',
            'first_carrier_scan_at', 'delivered_at', 'cancelled_at', 'closed_at',
        ] %}
        min(case when attribute = '{{ attribute }}' then occurred_at end) as {{ attribute }},
        {%- endfor %}
        -- The furthest step known to have happened, and whether any step is dated before an earlier one.
        max(case when is_step then step_order end) as furthest_step
    from {{ ref('int_order_steps') }}
    group by order_id
),

disorder as (
    select
        order_id,
        max(case when occurred_at < latest_before then 1 else 0 end) as is_out_of_sequence
    from (
        select
            order_id,
            occurred_at,
            max(occurred_at) over (
                partition by order_id
                order by step_order
                rows between unbounded preceding and 1 preceding
            ) as latest_before
        from {{ ref('int_order_steps') }}
        where is_sequential
    ) as steps
    group by order_id
)

select
    instants.*,
    survived.promised_at,
    ranked_rests.dwell_hours,
    ranked_rests.dwell_step,
    {{ hours_between('instants.ordered_at', 'instants.dispatched_at') }} as order_to_dispatch_hours,
    {{ hours_between('instants.ordered_at', 'instants.delivered_at') }} as order_to_delivery_hours,
    {{ hours_between('survived.promised_at', 'instants.delivered_at') }} as promise_slip_hours,
    coalesce(disorder.is_out_of_sequence, 0) as is_out_of_sequence
from instants
inner join {{ ref('int_orders_survived') }} as survived on instants.order_id = survived.order_id
left join ranked_rests on instants.order_id = ranked_rests.order_id and ranked_rests.rest_rank = 1
left join disorder on instants.order_id = disorder.order_id
