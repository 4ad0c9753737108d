{{ config(schema='intermediate') }}
-- One row per order: the booked amounts with what was paid, refunded and charged, all in the order's currency.
-- Amounts of another currency are never added: the sum is then unknown, and <amount>_currency_conflict is 1.
with payments as (
    select
        payments.order_id,
        count(*) as payment_count,
        sum(case when payments.is_paid and payments.currency = survived.currency then payments.amount end) as paid_amount,
        sum(case when payments.is_paid and payments.currency = survived.currency then payments.fee_amount end) as fee_amount,
        sum(case when payments.is_paid then 1 else 0 end) as paid_count,
        sum(case
            when payments.is_paid and payments.currency = survived.currency and payments.amount is not null then 1 else 0
        end) as paid_summed_count,
        sum(case
            when payments.is_paid and payments.currency = survived.currency and payments.fee_amount is not null then 1 else 0
        end) as fee_summed_count
    from {{ ref('fct_payments') }} as payments
    inner join {{ ref('int_orders_survived') }} as survived on payments.order_id = survived.order_id
    where payments.is_counted
    group by payments.order_id
),

refunds as (
    select
        refunds.order_id,
        count(*) as refund_count,
        sum(case when refunds.currency = survived.currency then refunds.amount end) as refunded_amount,
        sum(case when refunds.currency = survived.currency and refunds.amount is not null then 1 else 0 end)
            as refund_summed_count
    from {{ ref('fct_refunds') }} as refunds
    inner join {{ ref('int_orders_survived') }} as survived on refunds.order_id = survived.order_id
    where refunds.is_counted
    group by refunds.order_id
),

shipments as (
    select
        shipments.order_id,
        sum(shipments.cost_amount) as cost_amount
    from {{ ref('fct_shipments') }} as shipments
    inner join {{ ref('int_orders_survived') }} as survived on shipments.order_id = survived.order_id
    where shipments.is_counted and coalesce(shipments.shipment_status, '') <> 'cancelled'
    group by shipments.order_id, survived.currency
    having
        count(shipments.cost_amount) = count(*)
        and min(shipments.currency) = survived.currency
        and max(shipments.currency) = survived.currency
),

sent as (
    select distinct order_id
    from {{ ref('fct_shipments') }}
    where is_counted
),

lines as (
    select
        lines.order_id,
        sum(lines.cost_amount) as cost_amount
    from {{ ref('fct_order_lines') }} as lines
    inner join {{ ref('int_orders_survived') }} as survived on lines.order_id = survived.order_id
    group by lines.order_id, survived.currency
    having
        count(lines.cost_amount) = count(*)
        and min(lines.currency) = survived.currency
        and max(lines.currency) = survived.currency
),

-- Claims that no one could tie to an order, or in another currency, are owed all the same, but not known by order.
rebates as (
    select
        rebates.order_id,
        sum(rebates.amount) as rebate_amount
    from {{ ref('fct_rebates') }} as rebates
    inner join {{ ref('int_orders_survived') }} as survived on rebates.order_id = survived.order_id
    group by rebates.order_id, survived.currency
    having
        count(rebates.amount) = count(*)
        and min(rebates.currency) = survived.currency
        and max(rebates.currency) = survived.currency
),

-- Which child sets some document's own system would know of: then none told means none happened.
-- What only delivers an order is not told of its money.
told as (
    select
        order_id,
        max(case when document_role <> 'fulfilment' and source_system in {{ sources_feeding('payments') }} then 1 else 0 end)
            as payments_told,
        max(case when document_role <> 'fulfilment' and source_system in {{ sources_feeding('refunds') }} then 1 else 0 end)
            as refunds_told,
        max(case when source_system in {{ sources_feeding('shipments') }} then 1 else 0 end) as shipments_told,
        count(distinct case when document_role = 'order' then currency end) as currency_count,
        count(distinct case when document_role = 'order' and not is_part and not is_shared then net_amount end)
            as net_amount_count
    from {{ ref('int_order_records_linked') }}
    where order_id is not null
    group by order_id
),

amounts as (
    select
        survived.order_id,
        survived.order_type,
        survived.currency,
        survived.gross_amount,
        survived.discount_amount,
        survived.shipping_amount,
        survived.tax_amount,
        survived.duty_amount,
        survived.net_amount,
        case
            when payments.paid_summed_count < payments.paid_count then null
            when payments.payment_count > 0 then coalesce(payments.paid_amount, 0)
            when survived.paid_currency = survived.currency then survived.record_paid_amount
            when told.payments_told = 1 and survived.currency is not null then 0
        end as paid_amount,
        case
            when refunds.refund_summed_count < refunds.refund_count then null
            when refunds.refund_count > 0 then refunds.refunded_amount
            when survived.refunded_currency = survived.currency then survived.record_refunded_amount
            when told.refunds_told = 1 and survived.currency is not null then 0
        end as refunded_amount,
        -- Whoever orders from the company itself pays no channel.
        coalesce(
            case when survived.channel_fee_currency = survived.currency then survived.record_channel_fee_amount end,
            case when survived.channel = 'direct' then 0 end
        ) as channel_fee_amount,
        case
            when payments.fee_summed_count > 0 and payments.fee_summed_count = payments.paid_count then payments.fee_amount
            when survived.payment_fee_currency = survived.currency then survived.record_payment_fee_amount
            -- Whoever buys on account, and through no payment provider, leaves no fee with one.
            when survived.channel = 'direct' and survived.order_type = 'b2b' and coalesce(payments.payment_count, 0) = 0 then 0
        end as payment_fee_amount,
        rebates.rebate_amount as dealer_rebate_amount,
        coalesce(
            case when survived.cogs_currency = survived.currency then survived.record_cogs_amount end,
            lines.cost_amount,
            standard.standard_cost_amount
        ) as cogs_amount,
        -- What was handed over in the store was not transported.
        coalesce(
            shipments.cost_amount,
            case when survived.logistics_cost_currency = survived.currency then survived.record_logistics_cost_amount end,
            case when survived.order_type = 'pos' and told.shipments_told = 1 and sent.order_id is null then 0 end
        ) as logistics_cost_amount,
        payments.payment_count,
        refunds.refund_count,
        coalesce(payments.fee_summed_count > 0 and payments.fee_summed_count = payments.paid_count, false)
            as fee_from_payments,
        shipments.cost_amount is not null as logistics_from_shipments,
        case when payments.paid_summed_count < payments.paid_count then 1 else 0 end as paid_amount_currency_conflict,
        case when refunds.refund_summed_count < refunds.refund_count then 1 else 0 end as refunded_amount_currency_conflict,
        case when told.currency_count > 1 then 1 else 0 end as currency_conflict,
        case when told.currency_count = 1 and told.net_amount_count > 1 then 1 else 0 end as net_amount_conflict
    from {{ ref('int_orders_survived') }} as survived
    inner join told on survived.order_id = told.order_id
    left join payments on survived.order_id = payments.order_id
    left join refunds on survived.order_id = refunds.order_id
    left join shipments on survived.order_id = shipments.order_id
    left join sent on survived.order_id = sent.order_id
    left join {{ ref('int_order_standard_costs') }} as standard on survived.order_id = standard.order_id
    left join lines on survived.order_id = lines.order_id
    left join rebates on survived.order_id = rebates.order_id
)

select
    order_id,
    order_type,
    currency,
    {%- for name in [
        'gross_amount', 'discount_amount', 'shipping_amount', 'tax_amount', 'duty_amount', 'net_amount', 'paid_amount',
        'refunded_amount', 'channel_fee_amount', 'payment_fee_amount', 'dealer_rebate_amount', 'cogs_amount',
        'logistics_cost_amount',
    ] %}
    cast({{ name }} as {{ column_type('amount') }}) as {{ name }},
    {%- endfor %}
    payment_count,
    refund_count,
    fee_from_payments,
    logistics_from_shipments,
    paid_amount_currency_conflict,
    refunded_amount_currency_conflict,
    currency_conflict,
    net_amount_conflict,
    -- A sale to a consumer has no dealer and so no rebate; for a dealer's order the rebate must be known.
    cast(
        net_amount - channel_fee_amount - payment_fee_amount - cogs_amount - logistics_cost_amount
        - case when order_type in ('b2c', 'pos') then coalesce(dealer_rebate_amount, 0) else dealer_rebate_amount end
        as {{ column_type('amount') }}
    ) as contribution_margin_amount
from amounts
