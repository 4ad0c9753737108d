{{ marketplace_order_records('xiaohongshu', 'orders', 'after_sales', states_tax=true, payment_fee='payment_fee_amount') }}
