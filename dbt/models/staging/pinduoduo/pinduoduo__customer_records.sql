{{ marketplace_customer_records('pinduoduo', 'orders') }}
