-- Posted documents that bill one sales order alone; a cancelled document and its cancellation are nothing together.
with billed as (
    select
        items.billing_document,
        min(items.sales_order) as sales_order,
        count(*) as line_count,
        sum(items.net_amount) as billed_amount,
        case when count(sold.net_amount) = count(*) then sum(sold.net_amount) end as sold_amount
    from {{ ref('stg_sap_s4__billing_items') }} as items
    left join {{ ref('stg_sap_s4__sales_order_items') }} as sold
        on items.sales_order = sold.sales_order and items.sales_order_item = sold.item
    group by items.billing_document
    having count(distinct items.sales_order) = 1 and count(items.sales_order) = count(*)
),

signed as (
    select
        *,
        case category when 'O' then -1 else 1 end as side
    from {{ ref('stg_sap_s4__billing_documents') }}
    where category in ('M', 'O') and not coalesce(is_cancelled, false) and accounting_document is not null
)

select
    signed.billing_document,
    billed.sales_order,
    case when signed.side = 1 then 'invoice' else 'credit_note' end as document_type,
    signed.billed_on,
    signed.side * signed.net_amount as net_amount,
    signed.side * signed.tax_amount as tax_amount,
    signed.side * (signed.net_amount + coalesce(signed.tax_amount, 0)) as total_amount,
    signed.currency,
    billed.line_count,
    signed.side * billed.billed_amount as billed_amount,
    signed.side * billed.sold_amount as sold_amount,
    signed.changed_at,
    signed._source,
    signed._stream,
    signed._batch_id,
    signed._page_sha256,
    signed._row_index,
    signed._extracted_at
from signed
inner join billed
    on signed.billing_document = billed.billing_document
