{{ marketplace_shipments('wechat_shop', 'orders', 'deliveries') }}
