-- The events by which goods left for one order, packed for it or sold over the counter; what was declared wrong did not
-- happen. Pallets and raw material belong to no order and name no document; a dealer's till may name no more than lots.
select
    events.*,
    events.biz_step = 'retail_selling' as is_over_the_counter
from {{ ref('stg_epcis__events') }} as events
where
    events.error_declared_at is null
    and (
        events.biz_step = 'retail_selling'
        or (
            events.biz_step = 'packing'
            and exists (
                select 1
                from {{ ref('stg_epcis__event_transactions') }} as transactions
                where transactions.event_id = events.event_id
            )
        )
    )
