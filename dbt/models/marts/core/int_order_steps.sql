{{ config(schema='intermediate') }}
-- One row per order and life-cycle step that has happened: the instant that survives and the record that tells it.
-- An order whose documents state their time without a created event is created at that time.
with told as (
    select
        order_id,
        event_type,
        occurred_at,
        event_id as record_id,
        source_system
    from {{ ref('fct_order_events') }}
    where is_counted
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
    types.is_step
from (
    select * from told
    union all
    select * from stated
) as steps
inner join {{ ref('event_types') }} as types on steps.event_type = types.event_type
