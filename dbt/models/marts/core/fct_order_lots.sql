-- Which lots left for which order: what a recall asks first.
select {{ contracted({'order_lot_id': 'lots.record_id', 'order_id': 'orders.order_id'}, 'lots') }}
from {{ ref('int_order_lots') }} as lots
left join {{ ref('order_xref') }} as orders on lots.order_record_id = orders.record_id and orders.is_current and not orders.is_shared
