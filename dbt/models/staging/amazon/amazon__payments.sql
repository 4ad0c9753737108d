{{ conform('payments', ref('stg_amazon__order_payments'), {
    'source_key': "order_id || '/' || _child_index",
    'payment_key': "order_id || '/' || _child_index",
    'order_record_id': record_id('amazon', 'orders', 'order_id'),
    'method': 'method',
    'amount': 'amount',
    'currency': 'currency',
}) }}
