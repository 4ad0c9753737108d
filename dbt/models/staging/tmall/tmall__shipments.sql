{{ marketplace_shipments('tmall', 'trade_details', 'shippings') }}
