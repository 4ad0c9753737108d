-- Posted invoices and credit notes of one sale, with what their lines bill beside what those lines were sold for.
with billed as (
    select
        lines.invoice_id,
        count(*) as line_count,
        sum(lines.amount) as billed_amount,
        case when count(sold.amount) = count(*) then sum(sold.amount) end as sold_amount
    from {{ ref('stg_tryton__invoice_lines') }} as lines
    left join {{ ref('stg_tryton__sale_lines') }} as sold
        on lines.origin = 'sale.line,' || cast(sold.id as {{ column_type('text') }})
    where lines.type = 'line'
    group by lines.invoice_id
),

documents as (
    select
        invoices.*,
        sales.id as sale_id,
        billed.line_count,
        billed.billed_amount,
        billed.sold_amount,
        case when invoices.total_amount < 0 then 'credit_note' else 'invoice' end as document_type
    from {{ ref('stg_tryton__invoices') }} as invoices
    inner join {{ ref('stg_tryton__sales') }} as sales
        on invoices.sale_ids = '[' || cast(sales.id as {{ column_type('text') }}) || ']'
        and sales.state not in ('draft', 'quotation')
    left join billed on invoices.id = billed.invoice_id
    where invoices.type = 'out' and invoices.state in ('posted', 'paid')
)

{{ conform('billing_documents', 'documents', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'document_key': 'coalesce(number, cast(id as ' ~ column_type('text') ~ '))',
    'order_record_id': record_id('tryton', 'sales', 'sale_id'),
    'document_type': 'document_type',
    'billed_on': 'invoice_on',
    'net_amount': 'untaxed_amount',
    'tax_amount': 'tax_amount',
    'total_amount': 'total_amount',
    'currency': 'currency',
    'line_count': 'line_count',
    'billed_lines_amount': 'billed_amount',
    'sold_lines_amount': 'sold_amount',
}) }}
