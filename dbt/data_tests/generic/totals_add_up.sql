{#- Once explained both sides are equal to the cent: what came late is on the right side, too, and so in no total. -#}
{% test totals_add_up(model) %}
select total_id, left_amount, right_amount
from {{ model }}
where
    left_amount - open_amount - fx_amount - missing_amount - duplicate_amount - tax_rounding_amount - fee_amount
    - partial_return_amount - amount_mismatch_amount - unexplained_amount <> right_amount
{% endtest %}
