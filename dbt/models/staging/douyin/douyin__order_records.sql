-- What the payment costs is in the platform's service fee.
{{ marketplace_order_records('douyin', 'orders', 'after_sales', states_tax=true,
    payment_fee='case when fee_amount is not null then cast(0 as ' ~ column_type('amount') ~ ') end') }}
