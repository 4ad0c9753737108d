{{ marketplace_shipments('douyin', 'orders', 'parcels') }}
