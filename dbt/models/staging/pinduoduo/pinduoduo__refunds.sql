{{ marketplace_refunds('pinduoduo', 'orders', 'refunds') }}
