-- One reference per claim and order, as the dealer wrote it.
with told as (
    select
        *,
        claim_number || '/' || order_number as claim_key,
        row_number() over (
            partition by claim_number, order_number
            order by _extracted_at, {{ code_point_order('document_id') }}, _child_index
        ) as told_rank
    from {{ ref('stg_dealer_rebates__claims') }}
    where order_number is not null
),

claims as (
    select * from told
    where told_rank = 1
)

{{ conform('order_references', 'claims', {
    'source_key': 'claim_key',
    'order_record_id': record_id('dealer_rebates', 'claims', 'claim_key'),
    'reference_type': "'order_number'",
    'reference_value': 'order_number',
}) }}
