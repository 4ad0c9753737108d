{{ config(schema='intermediate') }}
-- Every order document with its golden order, parties and the number of its lines; unlinked documents stay. A customer
-- key that was given to somebody else since means who had it when the document came. A document that stands for several
-- orders has a row for each (is_shared); one of several that a system keeps of one order says so (is_part), and what all
-- of them cost together.
{% set of_one_system = '(partition by orders.order_id, records.source_system, records.document_role)' -%}
{% set is_part = "(orders.match_rule is not null and orders.match_rule like '%(part)' and records.document_role = 'order'
        and count(*) over " ~ of_one_system ~ ' > 1)' -%}
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
    coalesce(orders.is_shared, false) as is_shared,
    {{ is_part }} as is_part,
    case
        when not {{ is_part }} then records.cogs_amount
        when count(records.cogs_amount) over {{ of_one_system }} = count(*) over {{ of_one_system }}
            then sum(records.cogs_amount) over {{ of_one_system }}
    end as whole_cogs_amount,
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
