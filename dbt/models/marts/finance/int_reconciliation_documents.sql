{{ config(schema='intermediate') }}
{% set of_document = '(partition by documents.source_system, documents.document_key, documents.document_type, documents.billed_on)' -%}
-- Every record that takes part in a reconciliation, per leg: on the left what was ordered, refunded or sent back, on the
-- right what one other system holds of it. Money in minor units of `currency`; a receipt counts units.
with orders as (
    select
        orders.order_id,
        orders.currency,
        orders.net_amount,
        orders.tax_amount,
        orders.line_count,
        {{ date_of('orders.ordered_at') }} as ordered_on,
        -- An invoice is due once goods left or money came; before that nobody can call it late.
        case
            when orders.dispatched_at is null then {{ date_of('orders.payment_verified_at') }}
            when orders.payment_verified_at is null or orders.payment_verified_at > orders.dispatched_at
                then {{ date_of('orders.dispatched_at') }}
            else {{ date_of('orders.payment_verified_at') }}
        end as billable_on,
        case
            when orders.order_status = 'cancelled' then 0
            when orders.tax_amount is not null
                then cast(orders.net_amount + orders.tax_amount + coalesce(orders.duty_amount, 0) as {{ column_type('amount') }})
        end as total_amount,
        -- Whose tax nobody tells is compared with invoices without tax, and with nothing else.
        orders.tax_amount is null and coalesce(orders.order_status, '') <> 'cancelled' as is_untaxed,
        survived.money_record_id
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_orders_survived') }} as survived on orders.order_id = survived.order_id
    where coalesce(orders.order_type, '') <> 'return' and not coalesce(orders.is_test, false)
),

payments as (
    select
        payment_id as record_id, order_id, source_system, amount, currency, fee_amount,
        coalesce({{ date_of('paid_at') }}, {{ date_of('_extracted_at') }}) as document_on
    from {{ ref('fct_payments') }}
    where is_paid and amount is not null
),

settled as (
    select
        lines.record_id, xref.order_id, lines.source_system,
        coalesce(lines.charged_amount, lines.gross_amount) as amount,
        case when lines.charged_amount is null then lines.currency else lines.charged_currency end as currency,
        case when lines.charged_amount is null then lines.fee_amount end as fee_amount,
        {{ date_of('lines.booked_at') }} as document_on
    from {{ ref('int_settlement_lines') }} as lines
    left join {{ ref('order_xref') }} as xref on lines.order_record_id = xref.record_id and xref.is_current and not xref.is_shared
    where lines.line_kind = 'charge'
),

-- A document that bills several orders is due when the last of them is.
billed as (
    select
        documents.*,
        xref.order_id,
        case when count(*) over {{ of_document }} > 1 then max(orders.billable_on) over {{ of_document }} end as due_on
    from {{ ref('int_billing_documents') }} as documents
    left join {{ ref('order_xref') }} as xref on documents.order_record_id = xref.record_id and xref.is_current and not xref.is_shared
    left join orders on xref.order_id = orders.order_id
),

refunds as (
    select refunds.*, systems.kind
    from {{ ref('fct_refunds') }} as refunds
    inner join {{ ref('source_systems') }} as systems on refunds.source_system = systems.source_system
    where refunds.is_counted and refunds.amount is not null
),

returned as (
    select
        returned.*,
        systems.kind,
        -- Of those who took the customer's word, one counts; the warehouse counts for itself.
        dense_rank() over (
            partition by returned.order_id, case when systems.kind = 'wms' then 1 else 0 end
            order by
                case systems.kind when 'marketplace' then 1 when 'pos' then 2 else 3 end,
                {{ code_point_order('returned.source_system') }}
        ) as teller_rank
    from {{ ref('fct_returns') }} as returned
    inner join {{ ref('source_systems') }} as systems on returned.source_system = systems.source_system
    where
        returned.order_id is not null
        and returned.qty is not null
        and systems.kind in ('wms', 'marketplace', 'pos', 'service_desk')
),

-- What the service desk promised to pay back for what came back.
promises as (
    select * from returned where kind = 'service_desk' and promised_amount is not null
),

rights as (
    select
        'payment' as leg, order_id, source_system, record_id, amount, currency, document_on, fee_amount,
        cast(null as {{ column_type('amount') }}) as net_amount,
        cast(null as {{ column_type('amount') }}) as billed_lines_amount,
        cast(null as {{ column_type('amount') }}) as sold_lines_amount,
        cast(null as {{ column_type('text') }}) as sku_id,
        cast(null as date) as due_on
    from payments
    union all
    select 'settlement', order_id, source_system, record_id, amount, currency, document_on, fee_amount, null, null, null, null, null
    from settled
    union all
    select
        'billing', order_id, source_system, record_id, total_amount, currency, billed_on, null, net_amount,
        billed_lines_amount, sold_lines_amount, null, due_on
    from billed
    where document_type = 'invoice'
    union all
    select 'credit', order_id, source_system, record_id, -total_amount, currency, billed_on, null, null, null, null, null, null
    from billed
    where document_type = 'credit_note'
    union all
    select
        'receipt', order_id, source_system, return_id, cast(qty as {{ column_type('amount') }}), uom,
        {{ date_of('returned_at') }}, null, null, null, null, sku_id, null
    from returned
    where kind = 'wms'
    union all
    -- Whichever system booked them: what finance counts.
    select 'promise', order_id, 'finance', refund_id, amount, currency, {{ date_of('refunded_at') }}, null, null, null, null, null, null
    from refunds
    where order_id in (select order_id from promises)
    union all
    -- A refund that hangs on no order speaks for itself; what an ERP gave back does so as a credit note.
    select
        'promise', null, refunds.source_system, refunds.refund_id, refunds.amount, refunds.currency,
        {{ date_of('refunds.refunded_at') }}, null, null, null, null, null, null
    from {{ ref('fct_refunds') }} as refunds
    inner join {{ ref('source_systems') }} as systems on refunds.source_system = systems.source_system
    where
        refunds.order_id is null
        and refunds.amount is not null
        and systems.kind <> 'erp'
        and not exists (
            select 1 from {{ ref('order_xref') }} as xref
            where xref.record_id = refunds.order_record_id and xref.is_current
        )
),

-- Which systems of a leg ought to hold something of an order: those that have a document of it, and hold such things. What
-- only delivers it takes no payment.
holders as (
    select distinct leg, source_system from rights
    where leg <> 'promise'
),

known as (
    select order_id, source_system, document_role
    from {{ ref('int_order_records_linked') }}
    where order_id is not null
),

expected as (
    select holders.leg, known.order_id, holders.source_system
    from known
    inner join holders on known.source_system = holders.source_system
    where holders.leg <> 'payment' or known.document_role <> 'fulfilment'
    union
    select leg, order_id, source_system from rights where order_id is not null
    union
    select 'promise' as leg, order_id, 'finance' as source_system from promises
),

-- What each payment provider took of an order.
payers as (
    select
        rights.leg, rights.order_id, rights.source_system, sum(rights.amount) as own_amount,
        min(rights.currency) as currency, max(rights.currency) as last_currency
    from rights
    inner join {{ ref('source_systems') }} as systems on rights.source_system = systems.source_system
    where rights.leg in ('payment', 'settlement') and systems.kind = 'payment' and rights.order_id is not null
    group by rights.leg, rights.order_id, rights.source_system
),

ranked as (
    select
        payers.*,
        count(*) over (partition by leg, order_id) as payer_count,
        sum(own_amount) over (partition by leg, order_id) as all_amount,
        max(own_amount) over (partition by leg, order_id) as most_amount,
        min(currency) over (partition by leg, order_id) as first_of_all,
        max(last_currency) over (partition by leg, order_id) as last_of_all,
        row_number() over (
            partition by leg, order_id order by own_amount desc, {{ code_point_order('source_system') }}
        ) as place
    from payers
),

-- Of an order that several took parts of, each is held to its part, and who took most answers for the rest of the order.
shares as (
    select
        ranked.leg, ranked.order_id, ranked.source_system,
        cast(
            case
                when ranked.place = 1 then orders.total_amount - (ranked.all_amount - ranked.own_amount)
                else ranked.own_amount
            end as {{ column_type('amount') }}
        ) as amount
    from ranked
    inner join orders on ranked.order_id = orders.order_id
    where
        ranked.payer_count > 1
        and ranked.first_of_all = ranked.last_of_all
        and ranked.first_of_all = orders.currency
        and ranked.most_amount < orders.total_amount
),

lefts as (
    select
        expected.leg, orders.order_id, expected.source_system, orders.money_record_id as record_id,
        case
            when shares.amount is not null then shares.amount
            when expected.leg = 'billing' and orders.is_untaxed then orders.net_amount
            else orders.total_amount
        end as amount,
        orders.currency, orders.ordered_on as document_on, orders.net_amount,
        orders.line_count, 'orders' as left_system,
        case when expected.leg = 'billing' then orders.billable_on else orders.ordered_on end as due_on
    from expected
    inner join orders on expected.order_id = orders.order_id
    left join shares
        on expected.leg = shares.leg and expected.order_id = shares.order_id
        and expected.source_system = shares.source_system
    where expected.leg in ('payment', 'settlement', 'billing')
    union all
    select
        expected.leg, expected.order_id, expected.source_system, refunds.refund_id, refunds.amount, refunds.currency,
        {{ date_of('refunds.refunded_at') }}, null, null, refunds.source_system as left_system,
        {{ date_of('refunds.refunded_at') }}
    from expected
    inner join orders on expected.order_id = orders.order_id
    inner join refunds on expected.order_id = refunds.order_id
    where expected.leg = 'credit' and refunds.kind <> 'erp'
    union all
    select
        expected.leg, expected.order_id, expected.source_system, promises.return_id, promises.promised_amount,
        promises.currency, {{ date_of('promises.returned_at') }}, null, null, promises.source_system as left_system,
        {{ date_of('promises.returned_at') }}
    from expected
    inner join orders on expected.order_id = orders.order_id
    inner join promises on expected.order_id = promises.order_id
    where expected.leg = 'promise'
    union all
    select
        expected.leg, expected.order_id, expected.source_system, returned.return_id,
        cast(returned.qty as {{ column_type('amount') }}), returned.uom, {{ date_of('returned.returned_at') }}, null, null,
        returned.source_system as left_system, {{ date_of('returned.returned_at') }}
    from expected
    inner join orders on expected.order_id = orders.order_id
    inner join returned on expected.order_id = returned.order_id
    where expected.leg = 'receipt' and returned.kind <> 'wms' and returned.teller_rank = 1
)

select
    leg, order_id, source_system, 'left' as side, record_id, amount, currency, document_on,
    cast(null as {{ column_type('amount') }}) as fee_amount, net_amount, line_count,
    cast(null as {{ column_type('amount') }}) as billed_lines_amount,
    cast(null as {{ column_type('amount') }}) as sold_lines_amount,
    left_system, due_on, cast(null as {{ column_type('text') }}) as sku_id
from lefts
union all
select
    rights.leg, rights.order_id, rights.source_system, 'right', rights.record_id,
    case when rights.leg = 'billing' and orders.is_untaxed then rights.net_amount else rights.amount end, rights.currency,
    rights.document_on, rights.fee_amount, rights.net_amount, null, rights.billed_lines_amount, rights.sold_lines_amount, null,
    rights.due_on, rights.sku_id
from rights
-- What hangs on no order stays, to be told; what hangs on an order that is only practised does not.
left join orders on rights.order_id = orders.order_id
where rights.order_id is null or orders.order_id is not null
