-- A claim is no order: it names the orders it is made for, and hangs on each of them.
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

{{ conform('order_records', 'claims', {
    'source_key': 'claim_key',
    'document_role': "'claim'",
    'currency': 'currency',
}) }}
