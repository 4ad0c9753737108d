with told as (
    select
        *,
        row_number() over (
            partition by agreement_code, tier_from_amount
            order by _extracted_at desc, {{ code_point_order('document_id') }} desc, _child_index desc
        ) as told_rank
    from {{ ref('stg_dealer_rebates__agreements') }}
),

agreed as (
    select
        *,
        agreement_code || '/' || cast(tier_from_amount as {{ column_type('text') }}) as tier_key
    from told
    where told_rank = 1
)

{{ conform('rebate_agreements', 'agreed', {
    'source_key': 'tier_key',
    'agreement_code': 'agreement_code',
    'dealer_code': 'dealer_code',
    'dealer_name': 'dealer_name',
    'scope_type': 'scope_type',
    'scope_code': 'scope_code',
    'basis': 'basis',
    'rate': 'rate',
    'tier_from_amount': 'tier_from_amount',
    'currency': 'currency',
    'valid_from': 'valid_from',
    'valid_until': 'valid_until',
}) }}
