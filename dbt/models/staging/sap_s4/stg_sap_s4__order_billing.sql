-- What posted documents bill of each sales order; a cancelled document and its cancellation are nothing together. A document
-- of one order bills it with all its amounts. One of several, such as a month's collective invoice, bills each with the items
-- that name it; what no item gives to an order stays as a rest that names none, so that every document adds up.
with freight as (
    select sales_order
    from {{ ref('stg_sap_s4__sales_order_conditions') }}
    where condition_type = 'HD00'
    group by sales_order
),

items as (
    select
        items.billing_document,
        items.sales_order,
        count(*) as line_count,
        sum(items.net_amount) as billed_amount,
        case when count(items.tax_amount) = count(*) then sum(items.tax_amount) end as billed_tax_amount,
        case when count(sold.net_amount) = count(*) then sum(sold.net_amount) end as sold_amount
    from {{ ref('stg_sap_s4__billing_items') }} as items
    left join {{ ref('stg_sap_s4__sales_order_items') }} as sold
        on items.sales_order = sold.sales_order and items.sales_order_item = sold.item
    group by items.billing_document, items.sales_order
),

documents as (
    select
        *,
        case category when 'O' then -1 else 1 end as side
    from {{ ref('stg_sap_s4__billing_documents') }}
    where category in ('M', 'O') and not coalesce(is_cancelled, false) and accounting_document is not null
),

split as (
    select
        documents.*,
        items.sales_order,
        items.line_count,
        items.billed_amount,
        items.billed_tax_amount,
        items.sold_amount,
        freight.sales_order is not null as has_freight,
        count(*) over (partition by items.billing_document) = 1 as is_alone,
        count(items.sales_order) over (partition by items.billing_document) > 1 as is_shared,
        sum(case when items.sales_order is not null then items.billed_amount else 0 end)
            over (partition by items.billing_document) as given_amount,
        sum(case when items.sales_order is not null then coalesce(items.billed_tax_amount, 0) else 0 end)
            over (partition by items.billing_document) as given_tax_amount,
        row_number() over (partition by items.billing_document order by items.sales_order desc nulls last) as place
    from documents
    inner join items
        on documents.billing_document = items.billing_document
    left join freight
        on items.sales_order = freight.sales_order
),

parts as (
    select
        *,
        case when is_alone then billing_document else billing_document || '/' || sales_order end as part,
        case when is_alone then net_amount else billed_amount end as part_net_amount,
        case when is_alone then tax_amount else billed_tax_amount end as part_tax_amount,
        -- The items of a document for several orders hold the freight of each, which the items of an order do not.
        case when is_alone or not has_freight then sold_amount end as part_sold_amount,
        line_count as part_line_count
    from split
    where sales_order is not null

    union all

    select
        *,
        billing_document || '/rest' as part,
        net_amount - given_amount as part_net_amount,
        coalesce(tax_amount, 0) - given_tax_amount as part_tax_amount,
        cast(null as {{ column_type('amount') }}) as part_sold_amount,
        0 as part_line_count
    from split
    where
        place = 1
        and sales_order is not null
        and not is_alone
        and (net_amount <> given_amount or coalesce(tax_amount, 0) <> given_tax_amount)
)

select
    part,
    billing_document,
    case when part_line_count > 0 then sales_order end as sales_order,
    is_shared,
    case when side = 1 then 'invoice' else 'credit_note' end as document_type,
    billed_on,
    side * part_net_amount as net_amount,
    side * part_tax_amount as tax_amount,
    side * (part_net_amount + coalesce(part_tax_amount, 0)) as total_amount,
    currency,
    part_line_count as line_count,
    case when part_line_count > 0 then side * billed_amount end as billed_amount,
    side * part_sold_amount as sold_amount,
    changed_at,
    _first_seen_at,
    _source,
    _stream,
    _batch_id,
    _page_sha256,
    _row_index,
    _extracted_at
from parts
