-- What the payment costs is in the platform's service fee.
{{ marketplace_order_records('douyin', 'orders', 'after_sales', states_tax=true, keeps_payment_fee=true) }}
