-- Every movement of money with a provider or marketplace, tied to the order it is about and to the payout that pays it.
with linked as (
    select
        lines.*,
        xref.order_id,
        orders.order_number,
        {{ date_of('orders.ordered_at') }} as ordered_on,
        {{ date_of('lines.booked_at') }} as booked_on,
        settlements.settlement_status,
        case when settlements.settlement_status = 'paid' then {{ date_of('settlements.paid_at') }} end as settled_on,
        settlements.net_amount as settlement_net_amount,
        settlements.bank_reference
    from {{ ref('int_settlement_lines') }} as lines
    left join {{ ref('order_xref') }} as xref on lines.order_record_id = xref.record_id and xref.is_current and not xref.is_shared
    left join {{ ref('fct_orders') }} as orders on xref.order_id = orders.order_id
    left join {{ ref('int_settlements') }} as settlements on lines.settlement_record_id = settlements.record_id
)

select {{ contracted({
    'settlement_line_id': 'record_id',
    'settlement_id': 'settlement_record_id',
    'period': period_of('booked_on'),
    'days_to_settle': days_between('ordered_on', 'settled_on'),
    'is_linked': 'order_id is not null',
}) }}
from linked
