{{ config(schema='intermediate') }}
-- One row per order: everything known about it side by side, before flags.
with documents as (
    select
        order_id,
        {{ sorted_json_list('source_system') }} as source_systems,
        count(distinct source_system) as source_count,
        max(case when is_test then 1 when not is_test then 0 end) = 1 as is_test,
        max(case when source_system in {{ sources_feeding('shipments') }} then 1 else 0 end) as shipments_told,
        max(case when source_system in {{ sources_feeding('returns') }} then 1 else 0 end) as returns_told,
        min(_first_seen_at) as first_seen_at,
        max(_extracted_at) as last_changed_at
    from {{ ref('int_order_records_linked') }}
    where order_id is not null
    group by order_id
),

events as (
    select
        order_id,
        max(lag_seconds) as cross_system_lag_seconds,
        max(_extracted_at) as last_changed_at
    from {{ ref('fct_order_events') }}
    where order_id is not null
    group by order_id
),

payments as (
    select order_id, max(_extracted_at) as last_changed_at
    from {{ ref('fct_payments') }}
    where order_id is not null
    group by order_id
),

refunds as (
    select order_id, max(_extracted_at) as last_changed_at
    from {{ ref('fct_refunds') }}
    where order_id is not null
    group by order_id
),

shipments as (
    select
        order_id,
        count(*) as shipment_count,
        {{ sorted_json_list('carrier_code') }} as carrier_codes,
        {{ sorted_json_list('tracking_number') }} as tracking_numbers,
        case when count(distinct service_level) = 1 then min(service_level) end as service_level,
        case when count(package_count) = count(*) then sum(package_count) end as package_count,
        case when count(gross_weight_kg) = count(*) then sum(gross_weight_kg) end as gross_weight_kg,
        case when count(volume_m3) = count(*) then sum(volume_m3) end as volume_m3,
        case when count(distance_km) = count(*) then sum(distance_km) end as distance_km,
        max(_extracted_at) as last_changed_at
    from {{ ref('fct_shipments') }}
    where is_counted and coalesce(shipment_status, '') <> 'cancelled'
    group by order_id
),

places as (
    select order_id, {{ sorted_json_list('location_id') }} as fulfilment_location_ids
    from (
        select order_id, from_location_id as location_id from {{ ref('fct_shipments') }}
        union all
        select order_id, fulfilment_location_id as location_id from {{ ref('int_order_records_linked') }}
        union all
        select order_id, location_id from {{ ref('fct_order_events') }}
        where event_type in ('stock_reserved', 'picked', 'packed', 'dispatched')
    ) as named_places
    where order_id is not null
    group by order_id
),

returned as (
    select
        order_id,
        count(*) as return_count,
        case when count(qty) = count(*) and count(distinct uom) = 1 then sum(qty) end as returned_unit_qty,
        max(_extracted_at) as last_changed_at
    from {{ ref('fct_returns') }}
    where is_counted
    group by order_id
),

-- A warehouse counts what came back and does not ask why: then any other system's reasons stand.
reasons as (
    select
        order_id,
        coalesce(
            {{ sorted_json_list('case when is_counted then reason end') }}, {{ sorted_json_list('reason') }}
        ) as return_reasons
    from {{ ref('fct_returns') }}
    where order_id is not null
    group by order_id
),

-- What the service desk promised to pay back for what came back. Its returns are those of systems that have tickets.
promised as (
    select
        returned.order_id,
        case
            when count(returned.promised_amount) = count(*)
                and min(returned.currency) = max(survived.currency) and max(returned.currency) = max(survived.currency)
                then sum(returned.promised_amount)
        end as promised_amount
    from {{ ref('fct_returns') }} as returned
    inner join {{ ref('int_orders_survived') }} as survived on returned.order_id = survived.order_id
    where returned.source_system in {{ sources_feeding('tickets') }}
    group by returned.order_id
),

tickets as (
    select
        order_id,
        count(*) as ticket_count,
        min(opened_at) as first_ticket_at,
        max(case when is_open then 1 else 0 end) = 1 as has_open_ticket,
        max(_extracted_at) as last_changed_at
    from {{ ref('fct_tickets') }}
    where order_id is not null and not is_merged
    group by order_id
),

-- A repository that tells of any lot would tell of this order's.
repository as (
    select count(*) > 0 as is_connected
    from {{ ref('fct_order_lots') }}
),

-- A desk that tells of any ticket would tell of this order's.
desk as (
    select count(*) > 0 as is_connected
    from {{ ref('fct_tickets') }}
),

-- What was handed over in the store was not transported.
carbon as (
    select
        emitted.order_id,
        emitted.transport_modes,
        emitted.factor_version,
        emitted.factor_version_in_force,
        emitted.packaging_co2e_kg,
        emitted.packaging_uncertain,
        case
            when emitted.is_transported then emitted.transport_co2e_kg
            when survived.order_type = 'pos' and documents.shipments_told = 1 then 0
        end as transport_co2e_kg,
        case
            when emitted.is_transported then emitted.transport_uncertain
            when survived.order_type = 'pos' and documents.shipments_told = 1 then 0
        end as transport_uncertain
    from {{ ref('int_order_carbon') }} as emitted
    inner join {{ ref('int_orders_survived') }} as survived on emitted.order_id = survived.order_id
    inner join documents on emitted.order_id = documents.order_id
)

select
    survived.order_id,
    survived.order_number,
    survived.channel,
    survived.store_code,
    survived.order_type,
    documents.source_systems,
    documents.source_count,
    survived.customer_id,
    survived.bill_to_party_id,
    documents.is_test,
    timings.ordered_at,
    timings.payment_verified_at,
    timings.stock_reserved_at,
    timings.picked_at,
    timings.packed_at,
    timings.dispatched_at,
    timings.first_carrier_scan_at,
    timings.delivered_at,
    timings.cancelled_at,
    timings.closed_at,
    survived.promised_at,
    survived.record_status,
    coalesce(timings.furthest_step, 0) as furthest_step,
    case survived.record_status
        when 'processing' then 3 when 'shipped' then 6 when 'delivered' then 8 when 'closed' then 8
        when 'returned' then 8 else 0
    end as stated_step,
    timings.is_out_of_sequence,
    timings.dwell_hours,
    timings.dwell_step,
    timings.order_to_dispatch_hours,
    timings.order_to_delivery_hours,
    timings.promise_slip_hours,
    events.cross_system_lag_seconds,
    money.currency,
    money.gross_amount,
    money.discount_amount,
    money.shipping_amount,
    money.tax_amount,
    money.duty_amount,
    money.net_amount,
    money.paid_amount,
    money.refunded_amount,
    money.channel_fee_amount,
    money.payment_fee_amount,
    money.dealer_rebate_amount,
    money.cogs_amount,
    money.logistics_cost_amount,
    money.contribution_margin_amount,
    fx.reporting_currency,
    fx.fx_rate,
    fx.fx_rate_on,
    fx.fx_source,
    fx.net_reporting_amount,
    fx.margin_reporting_amount,
    money.currency_conflict,
    money.net_amount_conflict,
    money.paid_amount_currency_conflict,
    money.refunded_amount_currency_conflict,
    goods.line_count,
    goods.unit_qty,
    goods.uom_conflict,
    case when goods.lines_net_amount <> money.net_amount - money.shipping_amount then 1 else 0 end as lines_conflict,
    goods.distinct_sku_count,
    goods.category_codes,
    goods.has_bundle,
    goods.needs_cold_chain,
    coalesce(origins.lot_numbers, goods.lot_numbers) as lot_numbers,
    origins.origin_countries,
    origins.supplier_party_ids,
    origins.certificate_ids,
    case
        when goods.unit_qty > 0 and origins.order_id is not null then
            {{ rounded_ratio(
                'cast(least(origins.traced_qty, goods.unit_qty) * 1000 as bigint)', 'cast(goods.unit_qty * 1000 as bigint)'
            ) }}
        when
            repository.is_connected and goods.unit_qty > 0
            and (coalesce(timings.furthest_step, 0) >= 6 or survived.order_type = 'pos')
            then 0
    end as traceability_ratio,
    cold.min_temperature_c,
    cold.max_temperature_c,
    cold.excursion_minutes,
    cold.excursion_count,
    cold.sensor_coverage_ratio,
    cold.is_cold_chain_intact,
    coalesce(shipments.gross_weight_kg, goods.goods_weight_kg) as gross_weight_kg,
    coalesce(shipments.volume_m3, goods.goods_volume_m3) as volume_m3,
    shipments.gross_weight_kg is null as is_weight_of_goods,
    shipments.volume_m3 is null as is_volume_of_goods,
    shipments.package_count,
    places.fulfilment_location_ids,
    -- None told means none sent only while the order is not on its way, or when it was handed over in the store.
    coalesce(
        shipments.shipment_count,
        case
            when documents.shipments_told = 1
                and (
                    survived.order_type = 'pos'
                    or (
                        survived.record_status in ('open', 'processing', 'cancelled')
                        and coalesce(timings.furthest_step, 0) < 6
                    )
                )
                then 0
        end
    ) as shipment_count,
    shipments.carrier_codes,
    coalesce(survived.record_service_level, shipments.service_level) as service_level,
    shipments.tracking_numbers,
    survived.ship_to_country,
    survived.ship_to_region,
    survived.ship_to_city,
    survived.ship_to_postcode,
    shipments.distance_km,
    case when shipments.distance_km is not null then 'reported' end as distance_method,
    carbon.transport_modes,
    carbon.transport_co2e_kg,
    carbon.packaging_co2e_kg,
    carbon.transport_co2e_kg + carbon.packaging_co2e_kg as co2e_kg,
    case when carbon.transport_co2e_kg + carbon.packaging_co2e_kg is not null
        then 'ISO 14083 weight x distance, default factors'
    end as co2e_method,
    case when carbon.transport_co2e_kg is not null then coalesce(carbon.factor_version, carbon.factor_version_in_force) end
        as co2e_factor_version,
    case when {{ milligrams('carbon.transport_co2e_kg + carbon.packaging_co2e_kg') }} > 0 then
        {{ rounded_ratio(
            'cast(carbon.transport_uncertain + carbon.packaging_uncertain as bigint)',
            '100 * ' ~ milligrams('carbon.transport_co2e_kg + carbon.packaging_co2e_kg')
        ) }}
    end as co2e_uncertainty_ratio,
    customers.preference_tags,
    customers.loyalty_tier,
    customers.customer_segment,
    customers.marketing_consent,
    case when survived.customer_id is not null and timings.ordered_at is not null then row_number() over (
        partition by survived.customer_id
        order by
            case when timings.ordered_at is null or documents.is_test or survived.order_type = 'return' then 1 else 0 end,
            timings.ordered_at,
            {{ code_point_order('survived.order_id') }}
    ) = 1 end as is_first_order,
    coalesce(returned.return_count, case when documents.returns_told = 1 then 0 end) as return_count,
    case
        when returned.return_count > 0 then returned.returned_unit_qty
        when documents.returns_told = 1 then 0
    end as returned_unit_qty,
    reasons.return_reasons,
    case when desk.is_connected then coalesce(tickets.ticket_count, 0) end as ticket_count,
    tickets.first_ticket_at,
    case when desk.is_connected then coalesce(tickets.has_open_ticket, false) end as has_open_ticket,
    -- What comes back over the counter is not the desk's to record.
    cast(
        case
            when promised.order_id is not null then money.refunded_amount - promised.promised_amount
            when money.refunded_amount = 0 and returned.return_count is null and documents.returns_told = 1 then 0
            when desk.is_connected and coalesce(survived.order_type, '') <> 'pos' then money.refunded_amount
        end as {{ column_type('amount') }}
    ) as refund_gap_amount,
    documents.first_seen_at,
    greatest(
        documents.last_changed_at,
        coalesce(events.last_changed_at, documents.last_changed_at),
        coalesce(payments.last_changed_at, documents.last_changed_at),
        coalesce(refunds.last_changed_at, documents.last_changed_at),
        coalesce(shipments.last_changed_at, documents.last_changed_at),
        coalesce(returned.last_changed_at, documents.last_changed_at),
        coalesce(tickets.last_changed_at, documents.last_changed_at),
        coalesce(origins.last_changed_at, documents.last_changed_at),
        coalesce(cold.last_changed_at, documents.last_changed_at)
    ) as last_changed_at
from {{ ref('int_orders_survived') }} as survived
inner join documents on survived.order_id = documents.order_id
inner join {{ ref('int_order_money') }} as money on survived.order_id = money.order_id
left join {{ ref('int_order_timings') }} as timings on survived.order_id = timings.order_id
left join {{ ref('int_order_goods') }} as goods on survived.order_id = goods.order_id
left join events on survived.order_id = events.order_id
left join payments on survived.order_id = payments.order_id
left join refunds on survived.order_id = refunds.order_id
left join shipments on survived.order_id = shipments.order_id
left join places on survived.order_id = places.order_id
left join returned on survived.order_id = returned.order_id
left join reasons on survived.order_id = reasons.order_id
left join {{ ref('golden_customers') }} as customers on survived.customer_id = customers.customer_id
inner join {{ ref('int_order_fx') }} as fx on survived.order_id = fx.order_id
left join promised on survived.order_id = promised.order_id
left join tickets on survived.order_id = tickets.order_id
left join carbon on survived.order_id = carbon.order_id
left join {{ ref('int_order_origins') }} as origins on survived.order_id = origins.order_id
left join {{ ref('int_order_cold_chain') }} as cold on survived.order_id = cold.order_id
cross join desk
cross join repository
