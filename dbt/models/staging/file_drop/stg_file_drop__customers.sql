-- One row per customer code of an export, as its newest document describes it.
select *
from (
    select
        lines.*,
        min(_document_seen_at) over (partition by customer_code_key) as _first_seen_at,
        row_number() over (
            partition by customer_code_key
            order by ordered_at desc nulls last, {{ code_point_order('order_key') }} desc, _row_index
        ) as customer_rank
    from (
        select
            customer_code_key,
            order_key,
            ordered_at,
            customer_code,
            customer_name,
            customer_email,
            customer_country,
            export_name,
            _source,
            _stream,
            _batch_id,
            _page_sha256,
            _row_index,
            _extracted_at,
            _first_seen_at as _document_seen_at
        from {{ ref('stg_file_drop__order_lines') }}
        where customer_code_key is not null
    ) as lines
) as ranked
where customer_rank = 1
