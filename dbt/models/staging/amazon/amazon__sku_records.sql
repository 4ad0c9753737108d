-- Amazon's listings as orders and stock show them; the newest title of each seller SKU.
with sold as (
    select *
    from (
        select
            items.*,
            orders.updated_at,
            min(items._first_seen_at) over (partition by items.seller_sku) as _listing_seen_at,
            row_number() over (
                partition by items.seller_sku order by orders.updated_at desc, items.order_id, items._child_index
            ) as place
        from {{ ref('stg_amazon__order_items') }} as items
        inner join {{ ref('stg_amazon__orders') }} as orders on items.order_id = orders.order_id
        where items.seller_sku is not null
    ) as ranked
    where place = 1
),

stocked as (
    select *
    from (
        select
            *,
            min(_first_seen_at) over (partition by seller_sku) as _listing_seen_at,
            row_number() over (partition by seller_sku order by updated_at desc, marketplace_id) as place
        from {{ ref('stg_amazon__inventory_summaries') }}
    ) as ranked
    where place = 1
),

listings as (
    select
        seller_sku, title, updated_at, _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at,
        _listing_seen_at as _first_seen_at
    from sold
    union all
    select
        seller_sku, product_name, updated_at, _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at,
        _listing_seen_at
    from stocked
)

{{ conform('sku_records', 'listings', {
    'source_key': 'seller_sku',
    'source_updated_at': 'updated_at',
    'sku_code': 'seller_sku',
    'title': 'title',
}) }}
