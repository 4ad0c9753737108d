with items as (
    select
        items.*,
        costs.cost_amount,
        row_number() over (partition by items.sales_order order by items._child_index) as line_number,
        case
            when items.iso_unit in ('PCE', 'EA', 'C62', 'H87') then 'C62'
            else items.iso_unit
        end as uom,
        cast(items.net_amount / nullif(items.quantity, 0) as {{ column_type('amount') }}) as unit_price_amount
    from {{ ref('stg_sap_s4__sales_order_items') }} as items
    left join {{ ref('stg_sap_s4__item_costs') }} as costs
        on items.sales_order = costs.sales_order and items.item = costs.item
)

{{ conform('order_lines', 'items', {
    'source_key': "sales_order || '/' || item",
    'order_record_id': record_id('sap_s4', 'sales_orders', 'sales_order'),
    'line_key': 'item',
    'line_number': 'line_number',
    'sku_key': record_id('sap_s4', 'products', 'product'),
    'sku_code': 'product',
    'description': 'text',
    'qty': 'quantity',
    'uom': 'uom',
    'unit_price_amount': 'unit_price_amount',
    'net_amount': 'net_amount',
    'cost_amount': 'cost_amount',
    'currency': 'currency',
    'lot_number': 'batch',
    'is_return': "category = 'REN'",
}) }}
