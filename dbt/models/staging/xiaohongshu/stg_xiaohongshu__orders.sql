-- What goods cost stands on the SKUs: where one of them could not land, the sums miss the total, and are left out.
with sums as (
    select
        order_id,
        sum(goods_amount) as goods_amount,
        sum(discount_amount) as discount_amount,
        sum(tax_amount) as tax_amount
    from {{ ref('stg_xiaohongshu__order_skus') }}
    group by order_id
),

kept as (
    select
        order_id,
        sum(channel_fee_amount) as fee_amount,
        sum(payment_fee_amount) as payment_fee_amount
    from {{ ref('stg_xiaohongshu__transactions') }}
    group by order_id
),

checked as (
    select
        orders.*,
        sums.goods_amount,
        sums.discount_amount,
        sums.tax_amount,
        kept.fee_amount,
        kept.payment_fee_amount,
        sums.goods_amount - sums.discount_amount + sums.tax_amount + orders.shipping_amount = orders.paid_amount as is_whole
    from {{ ref('stg_xiaohongshu__order_versions') }} as orders
    left join sums on orders.order_id = sums.order_id
    left join kept on orders.order_id = kept.order_id
)

select
    order_id, buyer_id, region, city, district, currency, shipping_amount, paid_amount, created_at, paid_at, promised_at,
    shipped_at, cancelled_at, updated_at, is_whole,
    case when is_whole then goods_amount end as goods_amount,
    case when is_whole then discount_amount end as discount_amount,
    case when is_whole then tax_amount end as tax_amount,
    case when order_kind = 2 then 'presale' else 'b2c' end as order_type,
    case
        when status = 1 then 'open'
        when status in (2, 3, 4, 5) then 'processing'
        when status in (6, 10) then 'shipped'
        when status = 7 then 'closed'
        when status = 8 then 'returned'
        when status = 9 then 'cancelled'
    end as order_status,
    case payment_type when 1 then 'alipay' when 2 then 'wechat_pay' end as payment_method,
    fee_amount,
    payment_fee_amount,
    case when status = 7 then finished_at end as closed_at,
    _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at, _first_seen_at
from checked
