-- Several documents may tell of one line: the last one sent counts. What is owed is what was settled; until then, what is
-- claimed. A dispute leaves nothing owed until it is settled otherwise.
with claimed as (
    select
        *,
        row_number() over (
            partition by claim_number, claim_line
            order by _extracted_at desc, {{ code_point_order('document_id') }} desc, _child_index desc
        ) as told_rank
    from {{ ref('stg_dealer_rebates__claims') }}
),

answered as (
    select
        *,
        row_number() over (
            partition by claim_number, claim_line
            order by settled_on desc, _extracted_at desc, {{ code_point_order('document_id') }} desc, _child_index desc
        ) as told_rank
    from {{ ref('stg_dealer_rebates__settlements') }}
),

entries as (
    select
        claimed.*,
        claimed.claim_number || '/' || claimed.claim_line as line_key,
        answered.settlement_number,
        answered.settled_on,
        answered.settled_amount,
        answered.reason,
        case
            when answered.claim_number is null then 'claimed'
            when answered.status in ('disputed', 'rejected') then answered.status
            when answered.settled_amount < claimed.claimed_amount then 'partial'
            else 'paid'
        end as rebate_status
    from claimed
    left join answered
        on
            claimed.claim_number = answered.claim_number
            and claimed.claim_line = answered.claim_line
            and claimed.currency = answered.currency
            and answered.told_rank = 1
    where claimed.told_rank = 1
)

{{ conform('rebates', 'entries', {
    'source_key': 'line_key',
    'rebate_key': 'line_key',
    'order_record_id': "'dealer_rebates:claims:' || claim_number || '/' || order_number",
    'dealer_code': 'dealer_code',
    'agreement_code': 'agreement_code',
    'claim_number': 'claim_number',
    'settlement_number': 'settlement_number',
    'rebate_type': "'claim'",
    'rebate_status': 'rebate_status',
    'sku_code': 'sku_code',
    'qty': 'qty',
    'base_amount': 'base_amount',
    'claimed_amount': 'claimed_amount',
    'settled_amount': 'settled_amount',
    'amount': 'coalesce(settled_amount, claimed_amount)',
    'currency': 'currency',
    'accrued_on': 'claimed_on',
    'settled_on': 'settled_on',
    'reason': 'reason',
}) }}
