-- A deleted product or SKU stays, and says so in its status.
{% set skus %}
(
    select
        skus.*,
        products.updated_at
    from {{ ref('stg_lazada__skus') }} as skus
    inner join {{ ref('stg_lazada__products') }} as products on skus.item_id = products.item_id
) as shown
{% endset %}
{{ told_deleted(ref('stg_lazada__products'), 'products', 'item_id', "lower(status) = 'deleted'") }}
union all
{{ told_deleted(skus, 'skus', 'sku_id', "lower(status) = 'deleted'") }}
