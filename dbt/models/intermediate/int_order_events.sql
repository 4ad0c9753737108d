-- That a document was deleted at its source is an event of its order: the document stays, and says so.
{{ union_sources('order_events') }}
union all
select
    gone.record_id,
    gone.source_system,
    gone.stream,
    gone.source_key,
    gone.source_updated_at,
    gone.gone_record_id as order_record_id,
    gone.source_key as event_key,
    'source_deleted' as event_type,
    gone.noticed_at as occurred_at,
    gone.noticed_at as recorded_at,
    cast(null as {{ column_type('offset') }}) as occurred_at_offset_minutes,
    cast(null as {{ column_type('text') }}) as location_key,
    cast(null as {{ column_type('text') }}) as biz_step,
    gone._batch_id,
    gone._page_sha256,
    gone._row_index,
    gone._extracted_at
from {{ ref('int_tombstones') }} as gone
inner join {{ ref('int_order_records') }} as documents on gone.gone_record_id = documents.record_id
where gone.is_deleted
