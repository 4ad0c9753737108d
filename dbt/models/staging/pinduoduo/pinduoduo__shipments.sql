{{ marketplace_shipments('pinduoduo', 'orders', 'parcels') }}
