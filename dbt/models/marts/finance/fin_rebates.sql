-- What dealers are owed, line by line: accrued by the agreement when the sale happened, claimed by the dealer, settled, and the
-- true-up between accrual and settlement, with the order's margin before and after.
with claimed as (
    select
        *,
        sum(base_amount) over (partition by agreement_code, dealer_code, currency, {{ period_of('accrued_on') }})
            as month_base_amount
    from {{ ref('fct_rebates') }}
),

-- Of the agreement's tiers in force that day, the highest one that the month's sales reach.
tiers as (
    select
        claimed.rebate_id,
        agreements.record_id as agreement_id,
        agreements.basis,
        agreements.rate,
        agreements.tier_from_amount,
        row_number() over (
            partition by claimed.rebate_id
            order by agreements.tier_from_amount desc, {{ code_point_order('agreements.record_id') }}
        ) as tier_rank
    from claimed
    inner join {{ ref('int_rebate_agreements') }} as agreements
        on
            claimed.agreement_code = agreements.agreement_code
            and coalesce(agreements.currency, claimed.currency) = claimed.currency
            and claimed.accrued_on >= coalesce(agreements.valid_from, claimed.accrued_on)
            and claimed.accrued_on <= coalesce(agreements.valid_until, claimed.accrued_on)
            and coalesce(agreements.tier_from_amount, 0) <= coalesce(claimed.month_base_amount, 0)
),

accrued as (
    select
        claimed.*,
        tiers.agreement_id,
        tiers.basis,
        tiers.rate,
        tiers.tier_from_amount,
        {{ to_minor_unit(
            "cast(case tiers.basis"
            ~ " when 'percent' then claimed.base_amount * tiers.rate / 100"
            ~ " when 'per_unit' then claimed.qty * tiers.rate end as numeric(24, 8))",
            'minor.minor_unit_digits'
        ) }} as accrued_amount
    from claimed
    left join tiers on claimed.rebate_id = tiers.rebate_id and tiers.tier_rank = 1
    left join {{ ref('currencies') }} as minor on claimed.currency = minor.currency
),

trued as (
    select
        accrued.*,
        orders.order_number,
        orders.contribution_margin_amount as restated_margin_amount,
        case when accrued.settled_amount is not null then accrued.settled_amount - accrued.accrued_amount end
            as true_up_amount,
        sum(accrued.amount - accrued.accrued_amount) over (partition by accrued.order_id) as order_gap_amount,
        count(accrued.accrued_amount) over (partition by accrued.order_id) as accrued_count,
        count(*) over (partition by accrued.order_id) as line_count
    from accrued
    left join {{ ref('fct_orders') }} as orders
        on accrued.order_id = orders.order_id and accrued.currency = orders.currency
)

select {{ contracted({
    'period': period_of('accrued_on'),
    'margin_as_accrued_amount':
        'case when accrued_count = line_count then restated_margin_amount + order_gap_amount end',
}) }}
from trued
