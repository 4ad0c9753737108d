-- Whom each order goes to and where, whole from the document whose address the order shows.
select {{ contracted({
    'order_id': 'survived.order_id',
    'customer_id': 'survived.customer_id',
}, 'records') }}
from {{ ref('int_orders_survived') }} as survived
inner join {{ ref('int_order_records_linked') }} as records
    on survived.order_id = records.order_id and survived.address_record_id = records.record_id
