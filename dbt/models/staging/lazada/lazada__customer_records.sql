-- A buyer is known by an id that the shop alone knows; a masked name or telephone is neither, and is left out.
with buyers as (
    select
        orders.*,
        sums.buyer_id
    from {{ ref('stg_lazada__orders') }} as orders
    left join {{ ref('stg_lazada__order_sums') }} as sums
        on orders.order_id = sums.order_id
)

{{ conform('customer_records', 'buyers', {
    'source_key': 'order_id',
    'source_updated_at': 'updated_at',
    'customer_type': "'person'",
    'city': 'ship_to_city',
    'postcode': 'ship_to_postcode',
    'country': 'ship_to_country_iso2',
    'marketplace_buyer_id': 'buyer_id',
    'created_at': 'created_at',
}) }}
