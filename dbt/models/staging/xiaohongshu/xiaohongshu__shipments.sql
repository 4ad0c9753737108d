{{ marketplace_shipments('xiaohongshu', 'orders', 'deliveries') }}
