-- What was told, and what the surviving record lists as merged into it.
with listed as (
{%- for stream in ('contacts', 'companies') %}
    {{ 'union all' if not loop.first }}
    select
        '{{ stream }}' as stream,
        gone.id as record_key,
        kept.id as merged_into_key,
        kept.modified_at as noticed_at,
        kept._source,
        kept._batch_id,
        kept._page_sha256,
        kept._row_index,
        kept._extracted_at
    from {{ ref('stg_hubspot__' ~ stream) }} as kept
    inner join {{ ref('stg_hubspot__' ~ stream) }} as gone on kept.merged_object_ids like '%"' || gone.id || '"%'
    where kept.id <> gone.id
{%- endfor %}
),

ranked as (
    select
        *,
        row_number() over (partition by stream, record_key order by noticed_at desc, merged_into_key) as place
    from listed
),

tombstones as (
    select
        stream,
        record_key,
        true as is_deleted,
        merged_into_key,
        'record' as evidence,
        noticed_at,
        _source,
        'tombstones' as _stream,
        _batch_id,
        _page_sha256,
        _row_index,
        _extracted_at
    from ranked
    where place = 1
    union all
    select
        told.stream,
        told.record_key,
        told.is_deleted,
        told.merged_into_key,
        told.evidence,
        told.noticed_at,
        told._source,
        told._stream,
        told._batch_id,
        told._page_sha256,
        told._row_index,
        told._extracted_at
    from {{ ref('stg_hubspot__tombstones') }} as told
    where not exists (
        select 1
        from listed
        where listed.stream = told.stream and listed.record_key = told.record_key
    )
)

{{ conform_tombstones('hubspot', 'tombstones') }}
