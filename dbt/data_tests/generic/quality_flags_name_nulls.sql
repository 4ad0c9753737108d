{#- The money of an order, as booked and in the group view, is stated, or flagged as unknown: never silently null. -#}
{% test quality_flags_name_nulls(model) %}
select order_id, quality_flags
from {{ model }}
where
    (net_amount is null and quality_flags not like '%"unknown:net_amount"%' and quality_flags not like '%"unknown:money"%')
    or (customer_id is null and quality_flags not like '%"unknown:customer_id"%')
    or (customer_id is not null and quality_flags like '%"unknown:customer_id"%')
    or (net_reporting_amount is null and quality_flags not like '%"unknown:net_reporting_amount"%'
        and quality_flags not like '%"unknown:group_view"%')
    or (net_reporting_amount is not null and (fx_rate is null or net_amount is null))
    or (fx_rate is not null and quality_flags like '%"unknown:fx_rate"%')
{% endtest %}
