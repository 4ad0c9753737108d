-- Tickets of the service desk, with the order that the customer named and who wrote.
select {{ contracted({
    'ticket_id': 'tickets.record_id',
    'order_id': 'orders.order_id',
    'customer_id': 'customers.customer_id',
    'is_open': "tickets.ticket_status in ('new', 'open', 'pending', 'hold')",
}, 'tickets') }}
from {{ ref('int_tickets') }} as tickets
left join {{ ref('order_xref') }} as orders on tickets.order_record_id = orders.record_id and orders.is_current and not orders.is_shared
left join {{ ref('customer_xref') }} as customers
    on tickets.customer_key = customers.record_id and customers.is_current
