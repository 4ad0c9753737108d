{#- The money of an order is stated, or flagged as unknown: never silently null. -#}
{% test quality_flags_name_nulls(model) %}
select order_id, quality_flags
from {{ model }}
where
    (net_amount is null and quality_flags not like '%"unknown:net_amount"%' and quality_flags not like '%"unknown:money"%')
    or (customer_id is null and quality_flags not like '%"unknown:customer_id"%')
    or (customer_id is not null and quality_flags like '%"unknown:customer_id"%')
    or quality_flags not like '%"unknown:group_view"%'
{% endtest %}
