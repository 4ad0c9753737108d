-- A deleted product stays, and says so in its status.
select
    'products' as stream,
    item_id as record_key,
    cast(null as {{ column_type('text') }}) as merged_into_key,
    true as is_deleted,
    'record' as evidence,
    updated_at as noticed_at,
    _source,
    _stream,
    _batch_id,
    _page_sha256,
    _row_index,
    _extracted_at
from {{ ref('stg_lazada__products') }}
where lower(status) = 'deleted'
