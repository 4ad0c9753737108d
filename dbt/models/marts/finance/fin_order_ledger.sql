-- Two postings for each entry, a debit and a credit of the same amount: balanced for each order, currency and day.
with entries as (
    select * from {{ ref('int_ledger_entries') }}
),

postings as (
    select
        entries.*,
        'debit' as side,
        debit_account as account,
        case when amount > 0 then amount else 0 end as debit_amount,
        case when amount < 0 then -amount else 0 end as credit_amount
    from entries
    union all
    select
        entries.*,
        'credit' as side,
        credit_account as account,
        case when amount < 0 then -amount else 0 end as debit_amount,
        case when amount > 0 then amount else 0 end as credit_amount
    from entries
)

select {{ contracted({
    'posting_id': "entry_type || ':' || order_id || ':' || record_id || ':' || side",
    'period': period_of('posted_on'),
}) }}
from postings
