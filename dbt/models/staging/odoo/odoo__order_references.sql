with named as (
    select
        id, modified_at, origin as reference_value, cast(null as {{ column_type('text') }}) as target_system, _source,
        _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_odoo__deliveries') }}
    where origin is not null
    union all
    select
        id, modified_at, refunded_order_name, 'odoo', _source, _stream, _batch_id, _page_sha256, _row_index,
        _extracted_at
    from {{ ref('stg_odoo__pos_sales') }}
    where refunded_order_name is not null
)

{{ conform('order_references', 'named', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'order_record_id': "_source || ':' || _stream || ':' || cast(id as " ~ column_type('text') ~ ')',
    'reference_type': "'origin'",
    'reference_value': 'reference_value',
    'target_system': 'target_system',
}) }}
