-- One line per SKU and unit price: Lazada tells each unit by itself. The unit price holds no tax; where a line's tax does not
-- part evenly, units of one price stay one line.
with grouped as (
    select
        items.order_id,
        items.sku_id,
        min(items.item_id) as line_id,
        min({{ code_point_order('items.seller_sku') }}) as seller_sku,
        min({{ code_point_order('items.name') }}) as name,
        min({{ code_point_order('items.currency') }}) as currency,
        count(*) as quantity,
        sum(items.item_price_amount - items.tax_amount) as list_amount,
        sum(items.voucher_amount) as discount_amount,
        sum(items.tax_amount) as tax_amount,
        min(items.updated_at) as updated_at,
        min(items._source) as _source,
        min(items._stream) as _stream,
        min(items._batch_id) as _batch_id,
        min(items._page_sha256) as _page_sha256,
        min(items._row_index) as _row_index,
        min(items._extracted_at) as _extracted_at
    from {{ ref('stg_lazada__order_items') }} as items
    inner join {{ ref('stg_lazada__orders') }} as orders
        on items.order_id = orders.order_id
    group by items.order_id, items.sku_id, items.item_price_amount - items.tax_amount
),

lines as (
    select
        *,
        row_number() over (partition by order_id order by {{ code_point_order('line_id') }}) as line_number,
        cast(list_amount / quantity as {{ column_type('amount') }}) as unit_price_amount
    from grouped
)

{{ conform('order_lines', 'lines', {
    'source_key': 'line_id',
    'source_updated_at': 'updated_at',
    'order_record_id': record_id('lazada', 'orders', 'order_id'),
    'line_key': 'line_id',
    'line_number': 'line_number',
    'sku_key': record_id('lazada', 'skus', 'sku_id'),
    'sku_code': 'seller_sku',
    'description': 'name',
    'qty': 'quantity',
    'uom': "'C62'",
    'unit_price_amount': 'unit_price_amount',
    'discount_amount': 'discount_amount',
    'tax_amount': 'tax_amount',
    'net_amount': 'list_amount - discount_amount',
    'currency': 'currency',
    'is_return': 'false',
}) }}
