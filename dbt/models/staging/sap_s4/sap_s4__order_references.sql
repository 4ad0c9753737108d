with named as (
    select
        sales_order as reference_key, changed_at, {{ record_id('sap_s4', 'sales_orders', 'sales_order') }} as order_record_id,
        'external' as reference_type, purchase_order as reference_value, cast(null as {{ column_type('text') }}) as target_system,
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_sap_s4__sales_orders') }}
    where purchase_order is not null
    union all
    select
        part, changed_at, {{ record_id('sap_s4', 'billing_documents', 'billing_document') }}, 'order_number', sales_order, 'sap_s4',
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_sap_s4__order_billing') }}
    where is_shared and sales_order is not null
)

{{ conform('order_references', 'named', {
    'source_key': 'reference_key',
    'source_updated_at': 'changed_at',
    'order_record_id': 'order_record_id',
    'reference_type': 'reference_type',
    'reference_value': 'reference_value',
    'target_system': 'target_system',
}) }}
