-- What posted invoices and credit notes bill of each sale; their lines come from a sale's lines, or take back lines that do.
-- A document of one sale bills it with all its amounts. One of several, such as a week's collective invoice, bills each with
-- its own lines, and with the tax of those that it bills whole, since lines state none; what stays over is a rest that names
-- none, so that every document adds up.
{% set text = column_type('text') %}
with lines as (
    select
        lines.invoice_id,
        lines.amount,
        coalesce(sold.sale_id, credited.sale_id) as sale_id,
        sold.amount as sold_amount
    from {{ ref('stg_tryton__invoice_lines') }} as lines
    left join {{ ref('stg_tryton__sale_lines') }} as sold
        on lines.origin = 'sale.line,' || cast(sold.id as {{ text }})
    left join {{ ref('stg_tryton__invoice_lines') }} as billed
        on lines.origin = 'account.invoice.line,' || cast(billed.id as {{ text }})
    left join {{ ref('stg_tryton__sale_lines') }} as credited
        on billed.origin = 'sale.line,' || cast(credited.id as {{ text }})
    where lines.type = 'line'
),

sales as (
    select
        invoice_id,
        sale_id,
        count(*) as line_count,
        sum(amount) as billed_amount,
        case when count(sold_amount) = count(*) then sum(sold_amount) end as sold_amount
    from lines
    group by invoice_id, sale_id
),

split as (
    select
        invoices.*,
        case when invoices.total_amount < 0 then 'credit_note' else 'invoice' end as document_type,
        sales.sale_id,
        sales.line_count,
        sales.billed_amount,
        case
            when sales.billed_amount = sold.untaxed_amount then sold.tax_amount
            when sales.billed_amount = -sold.untaxed_amount then -sold.tax_amount
        end as billed_tax_amount,
        case when invoices.total_amount >= 0 then sales.sold_amount end as sold_amount,
        sold.number as sale_number,
        count(sales.sale_id) over (partition by invoices.id) as sale_count,
        row_number() over (partition by invoices.id order by sales.sale_id desc nulls last) as place
    from {{ ref('stg_tryton__invoices') }} as invoices
    inner join sales
        on invoices.id = sales.invoice_id
    left join {{ ref('stg_tryton__sales') }} as sold
        on sales.sale_id = sold.id
    where invoices.type = 'out' and invoices.state in ('posted', 'paid')
),

given as (
    select
        id,
        sum(billed_amount) as amount,
        sum(coalesce(billed_tax_amount, 0)) as tax_amount
    from split
    where sale_id is not null
    group by id
),

parts as (
    select
        split.*,
        case
            when sale_count = 1 then cast(id as {{ text }})
            else cast(id as {{ text }}) || '/' || cast(sale_id as {{ text }})
        end as part,
        sale_id as part_sale_id,
        case when sale_count = 1 then untaxed_amount else billed_amount end as part_net_amount,
        case when sale_count = 1 then tax_amount else billed_tax_amount end as part_tax_amount,
        case
            when sale_count = 1 then total_amount
            else billed_amount + coalesce(billed_tax_amount, 0)
        end as part_total_amount,
        line_count as part_line_count
    from split
    where sale_id is not null

    union all

    select
        split.*,
        cast(split.id as {{ text }}) || '/rest' as part,
        null as part_sale_id,
        split.untaxed_amount - given.amount as part_net_amount,
        split.tax_amount - given.tax_amount as part_tax_amount,
        split.total_amount - given.amount - given.tax_amount as part_total_amount,
        0 as part_line_count
    from split
    inner join given
        on split.id = given.id
    where
        split.place = 1
        and split.sale_count > 1
        and split.total_amount <> given.amount + given.tax_amount
)

select
    part,
    id,
    number,
    part_sale_id as sale_id,
    case when part_line_count > 0 then sale_number end as sale_number,
    sale_count > 1 as is_shared,
    document_type,
    invoice_on,
    part_net_amount as net_amount,
    part_tax_amount as tax_amount,
    part_total_amount as total_amount,
    currency,
    part_line_count as line_count,
    case when part_line_count > 0 then billed_amount end as billed_amount,
    case when part_line_count > 0 then sold_amount end as sold_amount,
    modified_at,
    _first_seen_at,
    _source,
    _stream,
    _batch_id,
    _page_sha256,
    _row_index,
    _extracted_at
from parts
