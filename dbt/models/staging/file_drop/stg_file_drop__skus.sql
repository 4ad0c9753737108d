-- One row per SKU code of an export. Its title is the description most often given; ties go to the longest, then
-- to the first by code point.
with descriptions as (
    select
        sku_code_key,
        description,
        count(*) as description_count
    from {{ ref('stg_file_drop__order_lines') }}
    where sku_code_key is not null and description is not null
    group by sku_code_key, description
),

titles as (
    select
        sku_code_key,
        description,
        row_number() over (
            partition by sku_code_key
            order by description_count desc, length(description) desc, {{ code_point_order('description') }}
        ) as title_rank
    from descriptions
),

-- The SKU's lineage is the first row that names it.
skus as (
    select *
    from (
        select
            lines.*,
            min(_document_seen_at) over (partition by sku_code_key) as _first_seen_at,
            row_number() over (
                partition by sku_code_key
                order by _extracted_at, {{ code_point_order('_batch_id') }}, _row_index, {{ code_point_order('order_key') }}
            ) as sku_rank
        from (
            select
                sku_code_key,
                order_key,
                sku_code,
                export_name,
                _source,
                _stream,
                _batch_id,
                _page_sha256,
                _row_index,
                _extracted_at,
                _first_seen_at as _document_seen_at
            from {{ ref('stg_file_drop__order_lines') }}
            where sku_code_key is not null
        ) as lines
    ) as ranked
    where sku_rank = 1
)

select
    skus.sku_code_key,
    skus._source,
    skus._stream,
    skus.export_name,
    skus.sku_code,
    titles.description as title,
    skus._batch_id,
    skus._page_sha256,
    skus._row_index,
    skus._extracted_at,
    skus._first_seen_at
from skus
left join titles on skus.sku_code_key = titles.sku_code_key and titles.title_rank = 1
