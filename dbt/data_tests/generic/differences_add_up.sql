{#- To the cent: left less right, what is late added back, is the difference, and the causes with the rest add up to it. -#}
{% test differences_add_up(model) %}
select item_id, left_amount, right_amount, difference_amount
from {{ model }}
where
    difference_amount <> timing_amount + fx_amount + missing_amount + duplicate_amount + tax_rounding_amount + fee_amount
    + partial_return_amount + amount_mismatch_amount + unexplained_amount
    or (status = 'different' and difference_amount <> left_amount - right_amount + timing_amount)
    or (status = 'matched' and left_amount <> right_amount)
{% endtest %}
