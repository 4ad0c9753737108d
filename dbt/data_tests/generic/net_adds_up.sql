{#- net = gross - discount + shipping, exactly, wherever all four are known. -#}
{% test net_adds_up(model) %}
select order_id, gross_amount, discount_amount, shipping_amount, net_amount
from {{ model }}
where net_amount <> gross_amount - discount_amount + shipping_amount
{% endtest %}
