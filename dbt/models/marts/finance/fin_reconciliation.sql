-- Every difference, a row for each cause that explains a part of it, with the records on both sides.
{% set causes = [
    ('timing', 'timing_amount'), ('fx', 'fx_amount'), ('missing', 'missing_amount'), ('duplicate', 'duplicate_amount'),
    ('tax_rounding', 'tax_rounding_amount'), ('fee', 'fee_amount'), ('partial_return', 'partial_return_amount'),
    ('amount_mismatch', 'amount_mismatch_amount'), ('unexplained', 'unexplained_amount'),
] -%}
with items as (
    select * from {{ ref('fin_reconciliation_items') }} where status = 'different' or lacks_rate
),

records as (
    select
        documents.leg,
        documents.order_id,
        documents.source_system,
        {{ sorted_json_list("case when documents.side = 'left' then documents.record_id end") }} as left_records,
        {{ sorted_json_list("case when documents.side = 'right' then documents.record_id end") }} as right_records
    from {{ ref('int_reconciliation_documents') }} as documents
    inner join items
        on documents.leg = items.leg and documents.order_id = items.order_id and documents.source_system = items.source_system
    group by documents.leg, documents.order_id, documents.source_system
),

-- Units that came back are worth what was paid back for them.
refunded as (
    select refunds.order_id, refunds.currency, sum(refunds.amount) as refunded_amount
    from {{ ref('fct_refunds') }} as refunds
    where refunds.is_counted
    group by refunds.order_id, refunds.currency
),

explained as (
    {%- for cause, column in causes %}
    select
        items.*,
        cast('{{ cause }}' as {{ column_type('text') }}) as cause,
        {{ loop.index }} as rule_order,
        items.{{ column }} as part_amount
    from items
    where items.status = 'different' and items.{{ column }} <> 0
    union all
    {%- endfor %}
    select
        items.*,
        cast('unexplained' as {{ column_type('text') }}) as cause,
        {{ causes | length + 1 }} as rule_order,
        cast(null as {{ column_type('amount') }}) as part_amount
    from items
    where items.lacks_rate
),

valued as (
    select
        explained.*,
        records.left_records,
        records.right_records,
        orders.order_number,
        case when explained.leg = 'receipt' then explained.part_amount end as explained_qty,
        case when explained.leg = 'receipt' then refunded.currency else explained.currency end as money_currency,
        case
            when explained.leg <> 'receipt' then explained.part_amount
            when explained.left_amount > 0 and refunded.refunded_amount > 0
                then {{ to_minor_unit(
                    rounded_ratio(
                        'cast(refunded.refunded_amount * explained.part_amount * 100 as bigint)',
                        'cast(explained.left_amount * 100 as bigint)',
                        'amount'
                    ),
                    'minor.minor_unit_digits'
                ) }}
        end as money_amount
    from explained
    inner join records
        on explained.leg = records.leg and explained.order_id = records.order_id
        and explained.source_system = records.source_system
    inner join {{ ref('fct_orders') }} as orders on explained.order_id = orders.order_id
    left join refunded on explained.order_id = refunded.order_id and orders.currency = refunded.currency
    left join {{ ref('currencies') }} as minor on orders.currency = minor.currency
),

lost as (
    select *
    from {{ ref('int_reconciliation_documents') }}
    where order_id is null
)

select {{ contracted({
    'difference_id': "item_id || ':' || cause",
    'document': "case leg when 'billing' then 'invoice' when 'credit' then 'credit_note' when 'promise' then 'refund' else leg end",
    'currency': 'money_currency',
    'missing_in': "case when cause = 'missing' then missing_in end",
    'left_amount': "case when leg <> 'receipt' then left_amount end",
    'right_amount': "case when leg <> 'receipt' then right_amount end",
    'difference_amount': "case when leg <> 'receipt' then difference_amount else money_amount end",
    'explained_amount': 'money_amount',
    'left_qty': "case when leg = 'receipt' then left_amount end",
    'right_qty': "case when leg = 'receipt' then right_amount end",
}) }}
from valued

union all

select {{ contracted({
    'difference_id': "leg || ':' || record_id || ':missing'",
    'item_id': "leg || ':' || record_id",
    'period': period_of('document_on'),
    'document': "case leg when 'billing' then 'invoice' when 'credit' then 'credit_note' when 'promise' then 'refund' else leg end",
    'order_number': 'null',
    'cause': "'missing'",
    'missing_in': "'orders'",
    'status': "'different'",
    'rule_order': '0',
    'left_amount': "case when leg <> 'receipt' then 0 end",
    'right_amount': "case when leg <> 'receipt' then amount end",
    'difference_amount': "case when leg <> 'receipt' then -amount end",
    'explained_amount': "case when leg <> 'receipt' then -amount end",
    'explained_qty': "case when leg = 'receipt' then -amount end",
    'currency': "case when leg <> 'receipt' then currency end",
    'left_qty': "case when leg = 'receipt' then 0 end",
    'right_qty': "case when leg = 'receipt' then amount end",
    'left_on': 'null',
    'right_on': 'document_on',
    'left_records': "'[]'",
    'right_records': json_list(['record_id']),
}) }}
from lost
