-- Each thing that two sides ought to agree on: one leg of one order beside one other system. The causes are found in a
-- stated order, each takes what it explains and passes on the rest; nothing is netted, and what is left is unexplained.
-- Every rule reads records: dates, rates, fees, taxes, counts and lines.
with documents as (
    select * from {{ ref('int_reconciliation_documents') }} where order_id is not null
),

-- How far each system has got: what it has not told by then is missing, not on its way.
latest as (
    select source_system, max({{ date_of('source_updated_at') }}) as latest_on
    from (
        select source_system, source_updated_at from {{ ref('int_order_records') }}
        union all
        select source_system, source_updated_at from {{ ref('int_settlement_lines') }}
    ) as told
    group by source_system
    union all
    -- Refunds that any system books.
    select 'finance' as source_system, max({{ date_of('source_updated_at') }}) as latest_on
    from {{ ref('int_order_records') }}
),

lefts as (
    select
        leg,
        order_id,
        source_system,
        sum(amount) as left_amount,
        count(*) as left_count,
        min(currency) as currency,
        count(distinct currency) as currency_count,
        count(amount) as amount_count,
        max(document_on) as left_on,
        max(net_amount) as left_net_amount,
        max(left_system) as left_system,
        max(due_on) as due_on,
        max(line_count) as line_count
    from documents
    where side = 'left'
    group by leg, order_id, source_system
),

-- An amount in another currency counts at the rate of the left side's day; without that rate it is not converted.
rights as (
    select
        documents.leg,
        documents.order_id,
        documents.source_system,
        documents.record_id,
        documents.document_on,
        documents.amount as stated_amount,
        documents.currency as stated_currency,
        documents.fee_amount,
        documents.net_amount,
        documents.billed_lines_amount,
        documents.sold_lines_amount,
        documents.sku_id,
        lefts.currency as left_currency,
        lefts.left_amount,
        documents.currency <> lefts.currency as is_foreign,
        case when documents.document_on > {{ days_after('coalesce(documents.due_on, lefts.due_on)', 'terms.late_days') }} then 1 else 0 end as is_late,
        case
            when lefts.left_amount is null or documents.currency = lefts.currency then documents.amount
            when documents.leg <> 'receipt'
                then {{ to_minor_unit(
                    fx_converted('documents.amount', fx_cross_rate('theirs.eur_rate', 'ours.eur_rate')),
                    'minor.minor_unit_digits'
                ) }}
        end as amount,
        case
            when documents.currency <> lefts.currency and documents.leg <> 'receipt'
                then {{ fx_converted('lefts.left_amount', fx_cross_rate('ours_then.eur_rate', 'theirs_then.eur_rate')) }}
        end as expected_stated_amount,
        {{ minor_unit('their_minor.minor_unit_digits') }} as stated_minor_unit
    from documents
    inner join {{ ref('reconciliation_terms') }} as terms on documents.leg = terms.leg
    left join lefts
        on documents.leg = lefts.leg and documents.order_id = lefts.order_id and documents.source_system = lefts.source_system
    left join {{ ref('currencies') }} as minor on lefts.currency = minor.currency
    left join {{ ref('currencies') }} as their_minor on documents.currency = their_minor.currency
    left join {{ ref('int_fx_rates') }} as ours
        on documents.currency <> lefts.currency and lefts.currency = ours.currency and lefts.left_on = ours.valid_on
    left join {{ ref('int_fx_rates') }} as theirs
        on documents.currency <> lefts.currency and documents.currency = theirs.currency and lefts.left_on = theirs.valid_on
    left join {{ ref('int_fx_rates') }} as ours_then
        on documents.currency <> lefts.currency and lefts.currency = ours_then.currency
        and documents.document_on = ours_then.valid_on
    left join {{ ref('int_fx_rates') }} as theirs_then
        on documents.currency <> lefts.currency and documents.currency = theirs_then.currency
        and documents.document_on = theirs_then.valid_on
    where documents.side = 'right'
),

right_sums as (
    select
        leg,
        order_id,
        source_system,
        case when count(amount) = count(*) then sum(amount) end as right_amount,
        count(*) as right_count,
        max(document_on) as right_on,
        sum(case when is_late = 1 then amount else 0 end) as late_amount,
        -- Converted at the rate of its own day it is what the left side says: then the rates alone make the difference.
        sum(case
            when is_foreign and abs(stated_amount - expected_stated_amount) <= 2 * stated_minor_unit then left_amount - amount
            else 0
        end) as fx_amount,
        sum(case when is_foreign then 1 else 0 end) as foreign_count,
        sum(case when is_foreign and amount is null then 1 else 0 end) as unconverted_count,
        sum(fee_amount) as fee_amount,
        case when count(net_amount) = count(*) and max(case when is_foreign then 1 else 0 end) = 0 then sum(net_amount) end
            as right_net_amount,
        sum(case when not is_foreign then sold_lines_amount - billed_lines_amount end) as lines_amount
    from rights
    group by leg, order_id, source_system
),

-- The same amount several times: beyond the left side's count the right one's are doubled, below it missing.
counted as (
    select leg, order_id, source_system, amount, sum(on_left) as left_n, sum(on_right) as right_n
    from (
        select leg, order_id, source_system, amount, 1 as on_left, 0 as on_right from documents where side = 'left'
        union all
        select leg, order_id, source_system, amount, 0 as on_left, 1 as on_right from rights
    ) as amounts
    where amount is not null
    group by leg, order_id, source_system, amount
),

matched as (
    select
        leg,
        order_id,
        source_system,
        sum(case when leg <> 'receipt' and right_n > 1 and right_n > left_n then amount * (right_n - greatest(left_n, 1)) else 0 end)
            as doubled_amount,
        sum(case when left_n > right_n then amount * (left_n - right_n) else 0 end) as unmatched_amount,
        sum(case when right_n > left_n then amount * (right_n - left_n) else 0 end) as unmatched_right_amount
    from counted
    group by leg, order_id, source_system
),

-- Units are received twice when the same goods were, on the same day.
received_twice as (
    select leg, order_id, source_system, sum(amount * (times - 1)) as doubled_amount
    from (
        select leg, order_id, source_system, sku_id, document_on, amount, count(*) as times
        from rights
        where leg = 'receipt' and sku_id is not null
        group by leg, order_id, source_system, sku_id, document_on, amount
    ) as received
    where times > 1
    group by leg, order_id, source_system
),

-- Of promises and refunds that say different amounts, those of one day belong together.
dated as (
    select
        order_id,
        source_system,
        sum(case when left_n > 0 and right_n > 0 and left_n <> right_n then 1 else 0 end) as uneven_days,
        sum(case when right_n = 0 then left_n else 0 end) as unpaid_count,
        sum(case when left_n = 0 then right_sum else 0 end) as unpromised_amount
    from (
        select
            documents.order_id, documents.source_system, documents.document_on,
            sum(case when documents.side = 'left' then 1 else 0 end) as left_n,
            sum(case when documents.side = 'right' then 1 else 0 end) as right_n,
            sum(case when documents.side = 'right' then documents.amount else 0 end) as right_sum
        from documents
        inner join counted
            on
                documents.leg = counted.leg and documents.order_id = counted.order_id
                and documents.source_system = counted.source_system and documents.amount = counted.amount
        where documents.leg = 'promise' and counted.left_n <> counted.right_n
        group by documents.order_id, documents.source_system, documents.document_on
    ) as days
    group by order_id, source_system
),

fees as (
    select
        orders.order_id,
        coalesce(orders.channel_fee_amount, 0) as channel_fee_amount,
        coalesce(orders.payment_fee_amount, 0) as payment_fee_amount,
        -- Of an order that was paid several times, the books took one payment's fee.
        coalesce(taken.one_fee_amount, 0) as one_fee_amount,
        orders.order_status,
        coalesce(orders.paid_amount, 0) > 0 as is_paid
    from {{ ref('fct_orders') }} as orders
    left join (
        select order_id, max(fee_amount) as one_fee_amount
        from documents
        where leg = 'payment' and side = 'right'
        group by order_id
    ) as taken on orders.order_id = taken.order_id
),

sided as (
    select
        lefts.leg,
        lefts.order_id,
        lefts.source_system,
        case when lefts.currency_count = 1 then lefts.currency end as currency,
        case when lefts.currency_count = 1 and lefts.amount_count = lefts.left_count then lefts.left_amount end as left_amount,
        lefts.left_count,
        lefts.left_on,
        lefts.left_net_amount,
        lefts.left_system,
        lefts.line_count,
        coalesce(right_sums.right_count, 0) as right_count,
        case when right_sums.right_count is null then 0 else right_sums.right_amount end as right_amount,
        right_sums.right_on,
        coalesce(right_sums.late_amount, 0) as late_amount,
        coalesce(right_sums.fx_amount, 0) as fx_amount,
        coalesce(right_sums.unconverted_count, 0) as unconverted_count,
        right_sums.right_net_amount,
        right_sums.lines_amount,
        coalesce(received_twice.doubled_amount, matched.doubled_amount, 0) as doubled_amount,
        case when lefts.leg = 'promise' and dated.uneven_days = 0 and dated.unpaid_count = 0 then dated.unpromised_amount else 0 end
            as unpromised_amount,
        coalesce(matched.unmatched_amount, 0) as unmatched_amount,
        coalesce(matched.unmatched_right_amount, 0) as unmatched_right_amount,
        {{ minor_unit('minor.minor_unit_digits') }} as one_minor_unit,
        fees.channel_fee_amount,
        fees.payment_fee_amount,
        fees.one_fee_amount,
        {{ days_after('coalesce(lefts.due_on, lefts.left_on)', 'terms.overdue_days') }} <= latest.latest_on
        and (
            lefts.leg in ('credit', 'receipt', 'promise')
            or fees.order_status in ('shipped', 'delivered', 'returned', 'closed')
            or (fees.is_paid and lefts.leg in ('payment', 'billing'))
        ) as is_overdue
    from lefts
    inner join {{ ref('reconciliation_terms') }} as terms on lefts.leg = terms.leg
    inner join fees on lefts.order_id = fees.order_id
    left join right_sums
        on lefts.leg = right_sums.leg and lefts.order_id = right_sums.order_id
        and lefts.source_system = right_sums.source_system
    left join matched
        on lefts.leg = matched.leg and lefts.order_id = matched.order_id and lefts.source_system = matched.source_system
    left join received_twice
        on
            lefts.leg = received_twice.leg and lefts.order_id = received_twice.order_id
            and lefts.source_system = received_twice.source_system
    left join dated on lefts.order_id = dated.order_id and lefts.source_system = dated.source_system
    left join latest on lefts.source_system = latest.source_system
    left join {{ ref('currencies') }} as minor on lefts.currency = minor.currency
),

-- What is not due yet is open, not different: unmatched money of it does not count.
states as (
    select
        sided.*,
        case
            when left_amount is null and right_count = 0 then 'open'
            when left_amount is null or unconverted_count > 0 then 'not_compared'
            when left_amount = right_amount - late_amount and late_amount = 0 then 'matched'
            when right_count < left_count and not coalesce(is_overdue, false) and left_amount - right_amount = unmatched_amount
                then 'open'
            else 'different'
        end as status
    from sided
),

timed as (
    select
        states.*,
        case when status = 'different' then left_amount - right_amount + late_amount else 0 end as difference_amount,
        case when status = 'different' then late_amount else 0 end as timing_amount,
        case when status = 'different' then left_amount - right_amount else 0 end as after_timing
    from states
),

rated as (
    select *, after_timing - fx_explained as after_fx
    from (select timed.*, case when after_timing <> 0 then fx_amount else 0 end as fx_explained from timed) as step
),

missed as (
    select *, after_fx - missing_amount as after_missing
    from (
        select
            rated.*,
            case
                when right_count < left_count and after_fx = unmatched_amount then after_fx
                -- Of several, one may be missing and another doubled. Of units, as many as came back in part look the same.
                when leg in ('credit', 'promise') and unmatched_amount > 0 and doubled_amount > 0
                    and after_fx = unmatched_amount - doubled_amount
                    then unmatched_amount
                -- Of one order there is one total; refunds and returns may be missing where they are first told, too.
                when leg in ('credit', 'receipt', 'promise') and right_count > left_count and doubled_amount = 0
                    and after_fx = -unmatched_right_amount
                    then after_fx
                when right_count > left_count and unpromised_amount > 0 then -unpromised_amount
                else 0
            end as missing_amount
        from rated
    ) as step
),

doubled as (
    select *, after_missing - duplicate_amount as after_duplicate
    from (
        select missed.*, case when after_missing < 0 then -doubled_amount else 0 end as duplicate_amount from missed
    ) as step
),

rounded as (
    select *, after_duplicate - tax_rounding_amount as after_tax
    from (
        select
            doubled.*,
            case
                when leg = 'billing' and duplicate_amount = 0 and right_net_amount = left_net_amount
                    and abs(after_duplicate) <= line_count * one_minor_unit
                    then after_duplicate
                else 0
            end as tax_rounding_amount
        from doubled
    ) as step
),

charged as (
    select *, after_tax - fee_explained as after_fee
    from (
        select
            rounded.*,
            case
                when leg <> 'receipt' and after_tax > 0
                    and after_tax in (
                        channel_fee_amount, payment_fee_amount, one_fee_amount, channel_fee_amount + payment_fee_amount
                    )
                    then after_tax
                else 0
            end as fee_explained
        from rounded
    ) as step
),

received as (
    select *, after_fee - partial_return_amount as after_partial
    from (
        select
            charged.*,
            case when leg = 'receipt' and right_count > 0 and after_fee > 0 then after_fee else 0 end as partial_return_amount
        from charged
    ) as step
),

lined as (
    select *, after_partial - mismatch_amount as unexplained_amount
    from (
        select
            received.*,
            case
                when leg = 'billing' and after_partial <> 0 then coalesce(lines_amount, 0)
                -- As many refunds as promises, and they say different amounts.
                when leg = 'promise' and (right_count = left_count or (missing_amount < 0 and duplicate_amount = 0))
                    then after_partial
                else 0
            end as mismatch_amount
        from received
    ) as step
)

select {{ contracted({
    'item_id': "leg || ':' || order_id || ':' || source_system",
    'period': period_of('left_on'),
    'fx_amount': 'fx_explained',
    'fee_amount': 'fee_explained',
    'amount_mismatch_amount': 'mismatch_amount',
    'missing_in': "case when missing_amount > 0 then source_system when missing_amount < 0 then left_system end",
    'lacks_rate': 'left_amount is not null and unconverted_count > 0',
}) }}
from lined
