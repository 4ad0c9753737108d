{{ config(schema='intermediate') }}
-- Every order document with its golden order, parties and the number of its lines; unlinked documents stay. A customer
-- key that was given to somebody else since means who had it when the document came.
with first_links as (
    {{ first_links() }}
),

line_counts as (
    select order_record_id, count(*) as line_count
    from {{ ref('int_order_lines') }}
    group by order_record_id
)

select
    records.*,
    orders.order_id,
    {{ id_then('customer', 'customers') }} as customer_id,
    {{ id_then('customer', 'bill_to') }} as bill_to_party_id,
    locations.location_id as fulfilment_location_id,
    line_counts.line_count
from {{ ref('int_order_records') }} as records
left join {{ ref('order_xref') }} as orders on records.record_id = orders.record_id and orders.is_current
left join {{ ref('customer_xref') }} as customers
    on records.customer_key = customers.record_id and customers.is_current
left join {{ ref('customer_xref') }} as bill_to on records.bill_to_key = bill_to.record_id and bill_to.is_current
left join first_links on records.record_id = first_links.record_id
{{ join_former('customer', 'customers', 'records.customer_key', 'first_links.linked_at') }}
{{ join_former('customer', 'bill_to', 'records.bill_to_key', 'first_links.linked_at') }}
left join {{ ref('location_xref') }} as locations
    on records.fulfilment_location_key = locations.record_id and locations.is_current
left join line_counts on records.record_id = line_counts.order_record_id
