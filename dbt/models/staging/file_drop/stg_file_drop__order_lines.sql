-- One row per line of the newest file that contains the line's document. A document is replaced as a whole, and
-- every line of it is kept: two equal lines in one file are two lines. A file is told by the instant it came at, which
-- a line replayed from quarantine keeps, though it lands in a batch of its own.
with files as (
    select
        export_name,
        order_number,
        _extracted_at,
        file_name,
        min(_extracted_at) over (partition by export_name, order_number) as _first_seen_at
    from {{ source('landing', 'file_drop__order_lines') }}
    group by export_name, order_number, _extracted_at, file_name
),

newest as (
    select *
    from (
        select
            files.*,
            row_number() over (
                partition by export_name, order_number
                order by _extracted_at desc, {{ code_point_order('file_name') }} desc
            ) as file_rank
        from files
    ) as ranked
    where file_rank = 1
)

select
    landed._source,
    landed._stream,
    landed.export_name || '/' || landed.order_number as order_key,
    landed.export_name || '/' || landed.order_number || '/' || cast(landed.line_number as {{ column_type('text') }})
        as line_key,
    landed.export_name || '/' || nullif(trim(landed.customer_code), '') as customer_code_key,
    landed.export_name || '/' || nullif(trim(landed.sku_code), '') as sku_code_key,
    landed.export_name,
    landed.document_type,
    landed.order_number,
    landed.line_number,
    landed.ordered_at,
    landed.ordered_at_offset_minutes,
    nullif(trim(landed.sku_code), '') as sku_code,
    nullif(trim(landed.description), '') as description,
    landed.qty,
    landed.uom,
    landed.unit_price_amount,
    landed.discount_amount,
    landed.tax_amount,
    landed.net_amount,
    landed.currency,
    nullif(trim(landed.customer_code), '') as customer_code,
    nullif(trim(landed.customer_name), '') as customer_name,
    nullif(trim(landed.customer_email), '') as customer_email,
    landed.customer_country_iso2 as customer_country,
    landed.channel,
    landed.store_code,
    landed._batch_id,
    landed._page_sha256,
    landed._row_index,
    landed._extracted_at,
    newest._first_seen_at
from {{ source('landing', 'file_drop__order_lines') }} as landed
inner join newest
    on
        landed.export_name = newest.export_name
        and landed.order_number = newest.order_number
        and landed._extracted_at = newest._extracted_at
        and landed.file_name = newest.file_name
