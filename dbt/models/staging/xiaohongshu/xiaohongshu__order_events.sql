{{ marketplace_order_events('xiaohongshu', 'orders', 'deliveries', 'after_sales', {
    'created': 'created_at',
    'payment_verified': 'paid_at',
    'cancelled': 'cancelled_at',
    'closed': 'closed_at',
}) }}
