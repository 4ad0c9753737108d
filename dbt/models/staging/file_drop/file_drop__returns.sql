-- A positive line in a return document takes part of the return back: its returned quantity is negative.
with returned as (
    select *
    from {{ ref('stg_file_drop__order_lines') }}
    where document_type = 'return' or qty < 0
)

{{ conform('returns', 'returned', {
    'source_key': 'line_key',
    'return_key': 'line_key',
    'order_record_id': record_id('file_drop', 'order_lines', 'order_key'),
    'sku_key': record_id('file_drop', 'order_lines', 'sku_code_key'),
    'qty': '-qty',
    'uom': 'uom',
    'returned_at': 'ordered_at',
}) }}
