-- Every micro-event that any system tells of, with its order; what happened to a delivery of two orders has a row for each.
-- is_counted marks the one that sets the order's instant.
with priorities as (
{{ source_priorities('order', [
    'created', 'payment_verified', 'stock_reserved', 'picked', 'packed', 'dispatched', 'carrier_scanned', 'delivered',
    'cancelled', 'closed',
]) }}
),

events as (
    select
        events.*,
        documents.order_id,
        documents.is_shared,
        locations.location_id,
        types.step_order,
        types.attribute,
        types.pick,
        priorities.priority_authority,
        coalesce(events.biz_step, types.biz_step) as event_biz_step,
        case events.event_type
            {%- for step in [
                'created', 'payment_verified', 'stock_reserved', 'picked', 'packed', 'dispatched', 'carrier_scanned',
                'delivered', 'cancelled', 'closed',
            ] %}
            when '{{ step }}' then {{ step }}_priority
            {%- endfor %}
        end as step_priority,
        -- A picking or a shipment is created, cancelled and closed in its own right, not as the order.
        types.attribute is not null
        and documents.order_id is not null
        and events.occurred_at is not null
        and (documents.document_role = 'order' or events.event_type not in ('created', 'cancelled', 'closed')) as can_count
    from {{ ref('int_order_events') }} as events
    left join {{ ref('int_order_records_linked') }} as documents on events.order_record_id = documents.record_id
    left join {{ ref('location_xref') }} as locations
        on events.location_key = locations.record_id and locations.is_current
    left join {{ ref('event_types') }} as types on events.event_type = types.event_type
    left join priorities on events.source_system = priorities.priority_source
),

ranked as (
    select
        events.*,
        row_number() over (
            partition by order_id, event_type
            order by
                case when can_count then 0 else 1 end,
                coalesce(step_priority, 99),
                case when pick = 'first' then occurred_at end,
                occurred_at desc,
                coalesce(priority_authority, 99),
                {{ code_point_order('record_id') }}
        ) as event_rank
    from events
)

select {{ contracted({
    'event_id': "case when is_shared then record_id || '/' || order_id else record_id end",
    'biz_step': 'event_biz_step',
    'is_counted': 'can_count and event_rank = 1',
    'lag_seconds': seconds_between('occurred_at', '_extracted_at'),
}) }}
from ranked
