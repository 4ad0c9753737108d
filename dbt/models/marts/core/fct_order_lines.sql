-- Lines of each order from the one document that survives for them: the shop's and the ERP's lines of one purchase
-- are the same goods told twice. An item code that was given to another article since means the one it was then.
with first_links as (
    {{ first_links() }}
)

select {{ contracted({
    'order_line_id': 'lines.record_id',
    'order_id': 'survived.order_id',
    'sku_id': id_then('sku', 'skus'),
}, 'lines') }}
from {{ ref('int_orders_survived') }} as survived
inner join {{ ref('int_order_lines') }} as lines on survived.lines_record_id = lines.order_record_id
left join {{ ref('sku_xref') }} as skus on lines.sku_key = skus.record_id and skus.is_current
left join first_links on lines.order_record_id = first_links.record_id
{{ join_former('sku', 'skus', 'lines.sku_key', 'first_links.linked_at') }}
