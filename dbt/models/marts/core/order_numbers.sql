-- Every number any system shows or keeps for an order, as written and without a leading mark: what an order is found by.
with linked as (
    select record_id, order_id, source_system, order_number, source_key
    from {{ ref('int_order_records_linked') }}
    where order_id is not null
),

numbers as (
    select record_id, order_id, source_system, order_number from linked
    union
    select record_id, order_id, source_system, replace(order_number, '#', '') as order_number from linked
    union
    select record_id, order_id, source_system, source_key as order_number from linked
)

select {{ contracted() }}
from numbers
where order_number is not null and order_number <> ''
