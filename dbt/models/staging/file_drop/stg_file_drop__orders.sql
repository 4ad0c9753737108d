-- One row per document, from its lines. An amount that some line lacks, or lines of two currencies, make the
-- document's amount unknown rather than too small. A blank discount is no discount: net_amount is computed so.
select
    order_key,
    min(_source) as _source,
    min(_stream) as _stream,
    min(export_name) as export_name,
    min(order_number) as order_number,
    min(document_type) as document_type,
    min(ordered_at) as ordered_at,
    min(ordered_at_offset_minutes) as ordered_at_offset_minutes,
    min({{ code_point_order('channel') }}) as channel,
    min({{ code_point_order('store_code') }}) as store_code,
    min({{ code_point_order('customer_code_key') }}) as customer_code_key,
    case when count(distinct currency) = 1 then min(currency) end as currency,
    {%- set amounts = {
        'gross_amount': ('count(net_amount)', 'sum(net_amount) + coalesce(sum(discount_amount), 0)'),
        'discount_amount': ('count(*)', 'sum(discount_amount)'),
        'tax_amount': ('count(tax_amount)', 'sum(tax_amount)'),
        'net_amount': ('count(net_amount)', 'sum(net_amount)'),
    } %}
    {%- for name, (known, total) in amounts.items() %}
    cast(case when count(distinct currency) = 1 and {{ known }} = count(*) then {{ total }} end as {{ column_type('amount') }})
        as {{ name }},
    {%- endfor %}
    count(*) as line_count,
    min(_batch_id) as _batch_id,
    min(_page_sha256) as _page_sha256,
    min(_row_index) as _row_index,
    min(_extracted_at) as _extracted_at,
    min(_first_seen_at) as _first_seen_at
from {{ ref('stg_file_drop__order_lines') }}
group by order_key
