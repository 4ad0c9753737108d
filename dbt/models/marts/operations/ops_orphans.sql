-- What hangs on no order, each with its reason, so that nothing is lost: documents that identity could place nowhere, and
-- refunds and payments whose order is not known, since the orders they belong to show too little refunded or paid.
with orphans as (
    select record_id, min(reason) as reason, min(detail) as detail
    from {{ source('identity', 'order_orphans') }}
    group by record_id
),

documents as (
    select
        records.record_id, records.source_system, records.stream, records.source_key, records.document_role,
        records.order_number, orphans.reason, orphans.detail, records.currency, records.net_amount,
        records._batch_id, records._page_sha256, records._row_index, records._extracted_at
    from orphans
    inner join {{ ref('int_order_records_linked') }} as records on orphans.record_id = records.record_id
    where records.order_id is null
),

money as (
    select
        refund_id as record_id, source_system, stream, source_key, 'refund' as document_role, order_record_id, currency,
        -amount as net_amount, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('fct_refunds') }}
    where order_id is null

    union all

    select
        payment_id, source_system, stream, source_key, 'payment', order_record_id, currency,
        amount, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('fct_payments') }}
    where order_id is null
),

told as (
    -- A payment that is a document itself is listed once: with the reason it hangs nowhere, and its amount.
    select
        documents.record_id, documents.source_system, documents.stream, documents.source_key, documents.document_role,
        documents.order_number, documents.reason, documents.detail, coalesce(documents.currency, money.currency) as currency,
        coalesce(documents.net_amount, money.net_amount) as net_amount,
        documents._batch_id, documents._page_sha256, documents._row_index, documents._extracted_at
    from documents
    left join money on documents.record_id = money.record_id

    union all

    select
        record_id, source_system, stream, source_key, document_role,
        cast(null as {{ column_type('text') }}),
        case when order_record_id is null then 'no_reference' else 'document_without_order' end,
        case
            when order_record_id is null then 'names no order: its order shows too little ' || case document_role
                when 'refund' then 'refunded' else 'paid'
            end
            else 'the document it names, ' || order_record_id || ', is in no order'
        end,
        currency, net_amount, _batch_id, _page_sha256, _row_index, _extracted_at
    from money
    where not exists (select 1 from documents where documents.record_id = money.record_id)
)

select {{ contracted() }}
from told
