-- Amounts are of all units of a SKU; what one cost is what was paid for them before discounts and tax, shared out.
select
    skus.*,
    sku_id as line_id,
    merchant_discount_amount + platform_discount_amount as discount_amount,
    paid_amount - tax_amount + merchant_discount_amount + platform_discount_amount as goods_amount,
    cast(
        (paid_amount - tax_amount + merchant_discount_amount + platform_discount_amount) / quantity
        as {{ column_type('amount') }}
    ) as unit_price_amount
from (
    {{ latest_children(source('landing', 'xiaohongshu__order_skus'), ref('stg_xiaohongshu__order_versions'),
                       parent_keys=['order_id'], keys=['order_id', 'sku_id']) }}
) as skus
