{{ marketplace_order_events('wechat_shop', 'orders', 'deliveries', 'after_sales', {
    'created': 'created_at',
    'payment_verified': 'paid_at',
    'cancelled': 'cancelled_at',
    'closed': 'closed_at',
}) }}
