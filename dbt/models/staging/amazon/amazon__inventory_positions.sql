-- The marketplaces of one network show the same units: they count once.
with positions as (
    select *
    from (
        select
            *,
            {{ amazon_network('marketplace_id') }} as network,
            row_number() over (
                partition by {{ amazon_network('marketplace_id') }}, seller_sku order by updated_at desc, marketplace_id
            ) as place
        from {{ ref('stg_amazon__inventory_summaries') }}
    ) as ranked
    where place = 1
)

{{ conform('inventory_positions', 'positions', {
    'source_key': "network || '/' || seller_sku",
    'source_updated_at': 'updated_at',
    'sku_key': record_id('amazon', 'inventory_summaries', 'seller_sku'),
    'location_key': record_id('amazon', 'inventory_summaries', 'network'),
    'on_hand_qty': 'total_qty',
    'reserved_qty': 'reserved_qty',
    'uom': "'C62'",
    'counted_at': 'updated_at',
}) }}
