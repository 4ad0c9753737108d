-- The conservation law per source and currency: every staged order document is in fct_orders through its crosswalk or
-- listed as an orphan with a reason, and its money is booked, superseded by another system's telling, or orphaned.
with orphans as (
    select record_id, min(reason) as reason
    from {{ source('identity', 'order_orphans') }}
    group by record_id
),

documents as (
    select
        records.source_system,
        coalesce(records.currency, 'unknown') as currency,
        records.document_role,
        records.net_amount,
        case when orders.order_id is not null then 1 else 0 end as is_linked,
        -- A document that stands for several orders is one document.
        case when records.is_shared then row_number() over (partition by records.record_id order by records.order_id) else 1 end
            as told_times,
        case when orders.order_id is null and orphans.record_id is not null then 1 else 0 end as is_orphan,
        case when survived.money_record_id = records.record_id then 1 else 0 end as is_booked,
        case when survived.money_record_id = records.record_id then orders.net_amount end as booked_net_amount
    from {{ ref('int_order_records_linked') }} as records
    left join {{ ref('fct_orders') }} as orders on records.order_id = orders.order_id
    left join {{ ref('int_orders_survived') }} as survived on records.order_id = survived.order_id
    left join orphans on records.record_id = orphans.record_id
),

sums as (
    select
        source_system,
        currency,
        count(*) as staged_count,
        sum(is_linked) as linked_count,
        sum(is_orphan) as orphan_count,
        coalesce(sum(case when document_role = 'order' then net_amount end), 0) as staged_net_amount,
        coalesce(sum(booked_net_amount), 0) as booked_net_amount,
        coalesce(sum(case when document_role = 'order' and is_linked = 1 and is_booked = 0 then net_amount end), 0)
            as superseded_net_amount,
        coalesce(sum(case when document_role = 'order' and is_orphan = 1 then net_amount end), 0) as orphan_net_amount
    from documents
    where told_times = 1
    group by source_system, currency
)

select {{ contracted({
    'difference_count': 'staged_count - linked_count - orphan_count',
    'difference_net_amount': 'staged_net_amount - booked_net_amount - superseded_net_amount - orphan_net_amount',
    'is_conserved': 'staged_count = linked_count + orphan_count
        and staged_net_amount = booked_net_amount + superseded_net_amount + orphan_net_amount',
}) }}
from sums
