{{ config(schema='intermediate') }}
-- One row per order with goods that travelled cold: how warm they were, and how much of their way was measured. A reading
-- holds until the next one of its sensor, no longer than var reading_holds_minutes; a span out of which one value is out
-- of range counts whole.
with readings as (
    select
        *,
        lead(measured_at) over (
            partition by order_record_id, sensor_id order by measured_at, reading_id
        ) as next_measured_at,
        lag(is_out_of_range) over (
            partition by order_record_id, sensor_id order by measured_at, reading_id
        ) as was_out_of_range
    from {{ ref('fct_temperature_readings') }}
    where order_id is not null
),

held as (
    select
        *,
        case
            when measured_until is not null then {{ microseconds_between('measured_at', 'measured_until') }}
            when next_measured_at is null then 0
            else least(
                {{ microseconds_between('measured_at', 'next_measured_at') }},
                {{ var('reading_holds_minutes') }} * cast(60000000 as bigint)
            )
        end as held_microseconds
    from readings
),

documents as (
    select
        order_id,
        order_record_id,
        sum(held_microseconds) as held_microseconds
    from held
    group by order_id, order_record_id

    union all

    -- A parcel with cold goods that nobody measured counts with its whole way.
    select distinct
        lots.order_id,
        lots.order_record_id,
        0 as held_microseconds
    from {{ ref('fct_order_lots') }} as lots
    inner join {{ ref('golden_skus') }} as skus on lots.gtin14 = skus.gtin14
    inner join {{ ref('int_order_records') }} as records
        on lots.order_record_id = records.record_id and records.document_role = 'shipment'
    left join {{ ref('fct_temperature_readings') }} as measured on lots.order_record_id = measured.order_record_id
    where lots.order_id is not null and skus.needs_cold_chain and measured.reading_id is null
),

journeys as (
    select
        order_record_id,
        min(case when event_type = 'dispatched' then occurred_at end) as dispatched_at,
        max(case when event_type = 'delivered' then occurred_at end) as delivered_at
    from {{ ref('fct_order_events') }}
    group by order_record_id
),

ways as (
    select
        documents.order_id,
        sum(documents.held_microseconds) as held_microseconds,
        case when count(journeys.dispatched_at) = count(*) and count(journeys.delivered_at) = count(*)
            then sum({{ microseconds_between('journeys.dispatched_at', 'journeys.delivered_at') }})
        end as way_microseconds
    from documents
    left join journeys on documents.order_record_id = journeys.order_record_id
    group by documents.order_id
),

warmth as (
    select
        order_id,
        min(lowest_c) as min_temperature_c,
        max(highest_c) as max_temperature_c,
        case when count(is_out_of_range) = count(*)
            then sum(case when is_out_of_range then held_microseconds else 0 end)
        end as excursion_microseconds,
        case when count(is_out_of_range) = count(*)
            then sum(case when is_out_of_range and not coalesce(was_out_of_range, false) then 1 else 0 end)
        end as excursion_count,
        max(_extracted_at) as last_changed_at
    from held
    group by order_id
),

measured as (
    select
        ways.order_id,
        warmth.min_temperature_c,
        warmth.max_temperature_c,
        {{ integer_divide('cast(warmth.excursion_microseconds as bigint)', '60000000') }} as excursion_minutes,
        warmth.excursion_count,
        case when ways.way_microseconds > 0 then
            {{ rounded_ratio(
                integer_divide('least(cast(ways.held_microseconds as bigint), cast(ways.way_microseconds as bigint))', '1000000'),
                integer_divide('cast(ways.way_microseconds as bigint)', '1000000')
            ) }}
        end as sensor_coverage_ratio,
        warmth.last_changed_at
    from ways
    left join warmth on ways.order_id = warmth.order_id
)

select
    *,
    case
        when excursion_count > 0 then false
        when excursion_count = 0 and sensor_coverage_ratio >= {{ var('cold_chain_min_coverage') }} then true
    end as is_cold_chain_intact
from measured
