-- Both sides in total, per period, leg, other system and unit: left, less what is open and what cannot be compared, less
-- every cause, is right.
select {{ contracted({
    'total_id': "coalesce(period, 'unknown') || ':' || leg || ':' || source_system || ':' || coalesce(currency, 'unknown')",
    'period': "coalesce(period, 'unknown')",
    'currency': "coalesce(currency, 'unknown')",
    'item_count': 'count(*)',
    'matched_count': "sum(case when status = 'matched' then 1 else 0 end)",
    'open_count': "sum(case when status = 'open' then 1 else 0 end)",
    'different_count': "sum(case when status = 'different' then 1 else 0 end)",
    'not_compared_count': "sum(case when status = 'not_compared' then 1 else 0 end)",
    'left_amount': "coalesce(sum(case when status <> 'not_compared' then left_amount end), 0)",
    'right_amount': "coalesce(sum(case when status <> 'not_compared' then right_amount end), 0)",
    'open_amount': "coalesce(sum(case when status = 'open' then left_amount - right_amount end), 0)",
    'not_compared_amount': "coalesce(sum(case when status = 'not_compared' then left_amount end), 0)",
    'timing_amount': 'sum(timing_amount)',
    'fx_amount': 'sum(fx_amount)',
    'missing_amount': 'sum(missing_amount)',
    'duplicate_amount': 'sum(duplicate_amount)',
    'tax_rounding_amount': 'sum(tax_rounding_amount)',
    'fee_amount': 'sum(fee_amount)',
    'partial_return_amount': 'sum(partial_return_amount)',
    'amount_mismatch_amount': 'sum(amount_mismatch_amount)',
    'unexplained_amount': 'sum(unexplained_amount)',
    'unexplained_absolute_amount': 'sum(abs(unexplained_amount))',
}) }}
from {{ ref('fin_reconciliation_items') }}
group by period, leg, source_system, currency
