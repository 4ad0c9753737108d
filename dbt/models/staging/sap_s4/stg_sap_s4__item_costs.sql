-- What the goods of a sales order item cost, as goods issue told it to its invoices; known once they bill what was ordered.
with billed as (
    select
        items.sales_order,
        items.sales_order_item,
        sum(items.quantity) as quantity,
        case when count(items.cost_amount) = count(*) then sum(items.cost_amount) end as cost_amount
    from {{ ref('stg_sap_s4__billing_items') }} as items
    inner join {{ ref('stg_sap_s4__billing_documents') }} as documents
        on items.billing_document = documents.billing_document
    where
        documents.category = 'M' and not coalesce(documents.is_cancelled, false) and documents.accounting_document is not null
        and items.sales_order_item is not null
    group by items.sales_order, items.sales_order_item
)

select
    sold.sales_order,
    sold.item,
    billed.cost_amount
from {{ ref('stg_sap_s4__sales_order_items') }} as sold
inner join billed
    on
        sold.sales_order = billed.sales_order
        and sold.item = billed.sales_order_item
        and sold.quantity = billed.quantity
