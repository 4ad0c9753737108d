{{ marketplace_order_events('tmall', 'trade_details', 'shippings', 'refunds', {
    'created': 'created_at',
    'payment_verified': 'paid_at',
    'cancelled': 'cancelled_at',
    'closed': 'closed_at',
}) }}
