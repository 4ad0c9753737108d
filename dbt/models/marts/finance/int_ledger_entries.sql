{{ config(schema='intermediate') }}
-- One row per entry of the order ledger: an amount moved from the credited to the debited account, for one event of one
-- order, on the day it happened. A negative amount moves the other way. What has no day, amount or currency is no entry.
with orders as (
    select
        orders.*,
        {{ date_of('orders.ordered_at') }} as ordered_on,
        survived.money_record_id,
        -- What the goods cost before discount, so that gross - discount + shipping is net where only net is told.
        coalesce(
            orders.gross_amount,
            orders.net_amount + coalesce(orders.discount_amount, 0) - coalesce(orders.shipping_amount, 0)
        ) as goods_amount
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_orders_survived') }} as survived on orders.order_id = survived.order_id
    where
        coalesce(orders.order_status, '') <> 'cancelled'
        and not coalesce(orders.is_test, false)
        and orders.net_amount is not null
),

payments as (
    select
        payments.*,
        {{ date_of('coalesce(payments.paid_at, orders.payment_verified_at)') }} as paid_on
    from {{ ref('fct_payments') }} as payments
    inner join orders on payments.order_id = orders.order_id
    where payments.is_counted and payments.is_paid
),

settled as (
    select
        lines.*,
        xref.order_id,
        {{ date_of('lines.booked_at') }} as booked_on,
        case when settlements.settlement_status = 'paid' then {{ date_of('settlements.paid_at') }} end as paid_on,
        systems.kind
    from {{ ref('int_settlement_lines') }} as lines
    inner join {{ ref('order_xref') }} as xref on lines.order_record_id = xref.record_id and xref.is_current and not xref.is_shared
    inner join orders on xref.order_id = orders.order_id
    inner join {{ ref('source_systems') }} as systems on lines.source_system = systems.source_system
    left join {{ ref('int_settlements') }} as settlements on lines.settlement_record_id = settlements.record_id
),

-- The same fee told by the shop and by the provider that keeps it counts once, as the provider settles it; the same charge
-- counts once, as the payment.
settled_orders as (
    select order_id, max(case when fee_amount <> 0 then 1 else 0 end) as has_fees
    from settled
    group by order_id
),

paid_orders as (
    select distinct order_id from payments
),

exchanged as (
    select
        settled.*,
        {{ fx_converted('settled.charged_amount', fx_cross_rate('charged.eur_rate', 'own.eur_rate')) }} as expected_amount
    from settled
    left join {{ ref('int_fx_rates') }} as charged
        on settled.charged_currency = charged.currency and settled.booked_on = charged.valid_on
    left join {{ ref('int_fx_rates') }} as own
        on settled.currency = own.currency and settled.booked_on = own.valid_on
    where settled.charged_amount is not null and settled.charged_currency <> settled.currency
),

rebates as (
    select rebates.*
    from {{ ref('fin_rebates') }} as rebates
    inner join orders on rebates.order_id = orders.order_id
),

entries as (
    {%- for entry_type, amount, debit, credit in [
        ('sale', 'goods_amount', '1100', '4000'), ('discount', 'discount_amount', '4010', '1100'),
        ('shipping', 'shipping_amount', '1100', '4020'), ('tax', 'tax_amount', '1100', '2100'),
        ('duty', 'duty_amount', '1100', '2110'),
    ] %}
    select
        '{{ entry_type }}' as entry_type, order_id, money_record_id as record_id, ordered_on as posted_on, currency,
        {{ amount }} as amount, '{{ debit }}' as debit_account, '{{ credit }}' as credit_account
    from orders
    where {{ amount }} <> 0
    union all
    {%- endfor %}
    select 'payment', order_id, payment_id, paid_on, currency, amount, '1200', '1100'
    from payments
    union all
    select 'payment', settled.order_id, settled.record_id, settled.booked_on,
        case when settled.charged_amount is null then settled.currency else settled.charged_currency end,
        coalesce(settled.charged_amount, settled.gross_amount), '1200', '1100'
    from settled
    left join paid_orders on settled.order_id = paid_orders.order_id
    where settled.line_kind = 'charge' and paid_orders.order_id is null
    union all
    select 'fee', payments.order_id, payments.payment_id, payments.paid_on, payments.currency, payments.fee_amount, '5110', '1200'
    from payments
    left join settled_orders on payments.order_id = settled_orders.order_id
    where payments.fee_amount <> 0 and coalesce(settled_orders.has_fees, 0) = 0
    union all
    select 'fee', order_id, record_id, booked_on, currency, fee_amount,
        case when kind = 'marketplace' then '5100' else '5110' end, '1200'
    from settled
    where fee_amount <> 0
    union all
    select 'refund', refunds.order_id, refunds.refund_id, {{ date_of('refunds.refunded_at') }}, refunds.currency,
        refunds.amount, '4100', '1200'
    from {{ ref('fct_refunds') }} as refunds
    inner join orders on refunds.order_id = orders.order_id
    where refunds.is_counted
    union all
    select 'settlement', order_id, record_id, paid_on, currency, net_amount, '1000', '1200'
    from settled
    where paid_on is not null
    union all
    select 'exchange_out', order_id, record_id, booked_on, charged_currency, charged_amount, '1290', '1200'
    from exchanged
    union all
    select 'exchange_in', order_id, record_id, booked_on, currency, gross_amount, '1200', '1290'
    from exchanged
    union all
    select 'fx_difference', order_id, record_id, booked_on, currency, gross_amount - expected_amount, '1290', '5900'
    from exchanged
    where gross_amount <> expected_amount
    union all
    -- What no agreement covers is accrued as claimed.
    select 'rebate_accrual', order_id, rebate_id, accrued_on, currency, coalesce(accrued_amount, claimed_amount), '5200', '2200'
    from rebates
    union all
    select 'rebate_true_up', order_id, rebate_id, settled_on, currency,
        settled_amount - coalesce(accrued_amount, claimed_amount), '5200', '2200'
    from rebates
    union all
    select 'rebate_settlement', order_id, rebate_id, settled_on, currency, settled_amount, '2200', '1000'
    from rebates
)

select {{ contracted() }}
from entries
where amount <> 0 and posted_on is not null and currency is not null
