{{ marketplace_payments('xiaohongshu', 'orders') }}
