with items as (
    {{ latest(source('landing', 'lazada__order_items'), keys=['item_id'], order='updated_at') }}
)

select
    *,
    case
        when status = 'canceled' then 'cancelled'
        when status in ('delivered', 'returned') then status
        when status in ('shipped', 'shipping') then 'shipped'
        when status in (
            'failed', 'failed_delivery', 'lost', 'lost_by_3pl', 'damaged_by_3pl', 'shipped_back', 'shipped_back_success',
            'shipped_back_failed', 'package_scrapped'
        ) then 'failed'
        else 'open'
    end as unit_status
from items
