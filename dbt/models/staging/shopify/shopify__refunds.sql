{{ conform('refunds', ref('stg_shopify__order_refunds'), {
    'source_key': 'refund_id',
    'refund_key': 'refund_id',
    'order_record_id': record_id('shopify', 'orders', 'order_id'),
    'amount': 'amount',
    'currency': 'currency',
    'refunded_at': 'created_at',
    'reason': 'note',
}) }}
