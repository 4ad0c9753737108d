{{ config(materialized='view') }}
-- Two postings for each entry, a debit and a credit of the same amount: balanced for each order, currency and day. A view, since
-- a posting says nothing that its entry does not, and writing ten postings for every order costs more than computing them.
with sides as (
    select 'debit' as side
    union all
    select 'credit' as side
),

postings as (
    select
        entries.*,
        sides.side,
        case when sides.side = 'debit' then entries.debit_account else entries.credit_account end as account
    from {{ ref('int_ledger_entries') }} as entries
    cross join sides
)

select {{ contracted({
    'posting_id': "entry_type || ':' || order_id || ':' || record_id || ':' || side",
    'period': period_of('posted_on'),
    'debit_amount': "case when (side = 'debit') = (amount > 0) then abs(amount) else 0 end",
    'credit_amount': "case when (side = 'credit') = (amount > 0) then abs(amount) else 0 end",
}) }}
from postings
