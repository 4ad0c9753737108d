-- Lines of goods and services; freight is the order's shipping amount. A line's lot is known when all came from one.
with moved as (
    select
        sale_line_id,
        case when count(distinct lot_number) = 1 and count(lot_number) = count(*) then min({{ code_point_order('lot_number') }}) end as lot_number,
        case when count(cost_price) = count(*) then sum(quantity * cost_price) end as cost_amount,
        sum(quantity) as moved_qty,
        min(company_id) as company_id
    from {{ ref('stg_tryton__sale_moves') }}
    where state = 'done' and to_location_type = 'customer'
    group by sale_line_id
),

lines as (
    select
        lines.*,
        {{ rec20_unit('lines.unit_symbol') }} as uom,
        moved.lot_number,
        case
            when moved.moved_qty = lines.quantity and companies.currency = lines.currency then moved.cost_amount
        end as cost_amount
    from {{ ref('stg_tryton__sale_lines') }} as lines
    inner join {{ ref('stg_tryton__sales') }} as sales
        on lines.sale_id = sales.id and sales.state not in ('draft', 'quotation')
    left join moved
        on lines.id = moved.sale_line_id
    left join {{ ref('stg_tryton__companies') }} as companies
        on moved.company_id = companies.id
    where
        lines.type = 'line' and lines.shipment_cost is null
        and {{ is_held('tryton', 'sale_lines', 'lines.id') }}
)

{{ conform('order_lines', 'lines', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'order_record_id': record_id('tryton', 'sales', 'sale_id'),
    'line_key': 'id',
    'line_number': 'sequence',
    'sku_key': record_id('tryton', 'products', 'product_id'),
    'sku_code': 'product_code',
    'description': 'description',
    'qty': 'quantity',
    'uom': 'uom',
    'unit_price_amount': 'unit_price',
    'net_amount': 'amount',
    'cost_amount': 'cost_amount',
    'currency': 'currency',
    'lot_number': 'lot_number',
    'is_return': 'quantity < 0',
}) }}
