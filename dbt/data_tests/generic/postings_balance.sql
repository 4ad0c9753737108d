{#- Double entry: debits equal credits for each order, currency and day. -#}
{% test postings_balance(model) %}
select order_id, currency, posted_on, sum(debit_amount) as debits, sum(credit_amount) as credits
from {{ model }}
group by order_id, currency, posted_on
having sum(debit_amount) <> sum(credit_amount)
{% endtest %}
