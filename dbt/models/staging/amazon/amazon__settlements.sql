-- A settlement period of one account and currency: what its transactions booked, and the transfer that closed it.
with periods as (
    select
        settlement_id,
        currency,
        sum(case when transaction_type <> 'Transfer' and sales_amount > 0 then sales_amount else 0 end) as gross_amount,
        sum(case when transaction_type <> 'Transfer' and sales_amount < 0 then sales_amount else 0 end) as refund_amount,
        -sum(case when transaction_type <> 'Transfer' then coalesce(expenses_amount, 0) else 0 end) as fee_amount,
        sum(case
            when transaction_type = 'Transfer' then 0
            else total_amount - coalesce(sales_amount, 0) - coalesce(expenses_amount, 0)
        end) as adjustment_amount,
        -sum(case when transaction_type = 'Transfer' then total_amount end) as transferred_amount,
        sum(case when transaction_type <> 'Transfer' then total_amount end) as balance_amount,
        min(case when transaction_type <> 'Transfer' then posted_at end) as opened_at,
        max(case when transaction_type = 'Transfer' then posted_at end) as closed_at,
        max(case when transaction_type = 'Transfer' then transfer_id end) as transfer_id,
        min(_source) as _source,
        min(_stream) as _stream,
        max(posted_at) as posted_at
    from {{ ref('stg_amazon__transactions') }}
    where settlement_id is not null and coalesce(upper(status), '') not in ('DEFERRED', 'DEFERRED_RELEASED')
    group by settlement_id, currency
),

-- Every record of the warehouse can say which page it came from: a period is told by its last transaction.
last_told as (
    select
        settlement_id, currency, _batch_id, _page_sha256, _row_index, _extracted_at,
        row_number() over (
            partition by settlement_id, currency order by posted_at desc, {{ code_point_order('transaction_id') }}
        ) as told_rank
    from {{ ref('stg_amazon__transactions') }}
    where settlement_id is not null
),

settled as (
    select periods.*, last_told._batch_id, last_told._page_sha256, last_told._row_index, last_told._extracted_at
    from periods
    inner join last_told
        on periods.settlement_id = last_told.settlement_id
        and periods.currency = last_told.currency
        and last_told.told_rank = 1
)

{{ conform('settlements', 'settled', {
    'source_key': "settlement_id || '/' || currency",
    'source_updated_at': 'posted_at',
    'stream': "'settlements'",
    'settlement_key': 'settlement_id',
    'settlement_status': "case when closed_at is null then 'open' else 'paid' end",
    'currency': 'currency',
    'gross_amount': 'gross_amount',
    'refund_amount': 'refund_amount',
    'fee_amount': 'fee_amount',
    'adjustment_amount': 'adjustment_amount',
    'net_amount': 'coalesce(transferred_amount, balance_amount)',
    'opened_at': 'opened_at',
    'closed_at': 'closed_at',
    'paid_at': 'closed_at',
    'bank_reference': 'transfer_id',
}) }}
