with parcels as (
    select
        order_id,
        package_id,
        min({{ code_point_order('tracking_code') }}) as tracking_code,
        min({{ code_point_order('carrier') }}) as carrier,
        min(case when unit_status in ('delivered', 'returned') then 1 else 0 end) as is_delivered,
        max(case when unit_status = 'failed' then 1 else 0 end) as has_failed,
        max(updated_at) as updated_at,
        min(_source) as _source,
        min(_stream) as _stream,
        min(_batch_id) as _batch_id,
        min(_page_sha256) as _page_sha256,
        min(_row_index) as _row_index,
        min(_extracted_at) as _extracted_at
    from {{ ref('stg_lazada__order_items') }}
    where package_id is not null and unit_status in ('shipped', 'delivered', 'returned', 'failed')
    group by order_id, package_id
)

{{ conform('shipments', 'parcels', {
    'source_key': "order_id || '/' || package_id",
    'source_updated_at': 'updated_at',
    'shipment_key': 'package_id',
    'order_record_id': record_id('lazada', 'orders', 'order_id'),
    'carrier_code': "lower(replace(carrier, ' ', '_'))",
    'tracking_number': 'tracking_code',
    'shipment_status': "case when is_delivered = 1 then 'delivered' when has_failed = 1 then 'failed' else 'in_transit' end",
}) }}
