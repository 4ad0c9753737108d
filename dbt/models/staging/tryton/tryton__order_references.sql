with named as (
    select
        cast(id as {{ column_type('text') }}) as reference_key, modified_at,
        {{ record_id('tryton', 'sales', 'id') }} as order_record_id, 'external' as reference_type,
        reference as reference_value, cast(null as {{ column_type('text') }}) as target_system,
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_tryton__sales') }}
    where reference is not null and state not in ('draft', 'quotation')
    union all
    select
        part, modified_at, {{ record_id('tryton', 'invoices', 'id') }}, 'order_number', sale_number, 'tryton',
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_tryton__sale_billing') }}
    where is_shared and sale_number is not null
)

{{ conform('order_references', 'named', {
    'source_key': 'reference_key',
    'source_updated_at': 'modified_at',
    'order_record_id': 'order_record_id',
    'reference_type': 'reference_type',
    'reference_value': 'reference_value',
    'target_system': 'target_system',
}) }}
