{{ marketplace_order_events('pinduoduo', 'orders', 'parcels', 'refunds', {
    'created': 'created_at',
    'payment_verified': 'paid_at',
    'cancelled': 'cancelled_at',
}) }}
