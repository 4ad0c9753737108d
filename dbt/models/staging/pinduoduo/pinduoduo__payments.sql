{{ marketplace_payments('pinduoduo', 'orders') }}
