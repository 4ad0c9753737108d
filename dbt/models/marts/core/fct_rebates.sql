-- What is owed to dealers, line by line, with the order it is owed for and the golden dealer who placed that.
with rebates as (
    select
        rebates.*,
        xref.order_id,
        survived.customer_id
    from {{ ref('int_rebates') }} as rebates
    left join {{ ref('order_xref') }} as xref on rebates.order_record_id = xref.record_id and xref.is_current and not xref.is_shared
    left join {{ ref('int_orders_survived') }} as survived on xref.order_id = survived.order_id
)

select {{ contracted({'rebate_id': 'record_id'}) }}
from rebates
