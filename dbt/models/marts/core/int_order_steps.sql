{{ config(schema='intermediate') }}
-- One row per order and life-cycle step that has happened: the instant that survives and the record that tells it.
-- An order whose documents state their time without a created event is created at that time; an order in several
-- shipments is delivered when the system that tells of delivery has told it of all of them.
with undelivered as (
    select distinct
        order_id,
        source_system
    from {{ ref('fct_shipments') }}
    where delivered_at is null and shipment_status in ('created', 'in_transit')
),

told as (
    select
        events.order_id,
        events.event_type,
        events.occurred_at,
        events.event_id as record_id,
        events.source_system
    from {{ ref('fct_order_events') }} as events
    left join undelivered
        on events.order_id = undelivered.order_id and events.source_system = undelivered.source_system
    where events.is_counted and (events.event_type <> 'delivered' or undelivered.order_id is null)
),

stated as (
    select
        survived.order_id,
        'created' as event_type,
        survived.record_ordered_at as occurred_at,
        survived.ordered_record_id as record_id,
        cast(null as {{ column_type('text') }}) as source_system
    from {{ ref('int_orders_survived') }} as survived
    left join told on survived.order_id = told.order_id and told.event_type = 'created'
    where survived.record_ordered_at is not null and told.order_id is null
)

select
    steps.*,
    types.step_order,
    types.attribute,
    types.is_step,
    types.is_sequential
from (
    select * from told
    union all
    select * from stated
) as steps
inner join {{ ref('event_types') }} as types on steps.event_type = types.event_type
