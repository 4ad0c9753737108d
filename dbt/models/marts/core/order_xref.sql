-- Dated links of documents to orders. A document that stands for several orders, such as a delivery of two, has a current
-- link to each, since both it and they are known.
with links as (
    {{ crosswalk('order') }}
),

known as (
    select order_id, min(valid_from) as valid_from
    from links
    group by order_id
),

ended as (
    select record_id, max(valid_to) as valid_to
    from links
    group by record_id
),

shares as (
    select
        cast(shares.record_id as {{ column_type('text') }}) as record_id,
        cast(shares.order_id as {{ column_type('text') }}) as order_id,
        cast(shares.match_rule as {{ column_type('text') }}) as match_rule,
        max(known.valid_from) over (partition by shares.record_id) as known_from,
        ended.valid_to as ended_at
    from {{ source('identity', 'order_shares') }} as shares
    inner join known on shares.order_id = known.order_id
    left join ended on shares.record_id = ended.record_id
)

select record_id, order_id, match_rule, valid_from, valid_to, is_current, false as is_shared
from links
union all
select
    record_id, order_id, match_rule,
    case when ended_at > known_from then ended_at else known_from end as valid_from,
    cast(null as {{ column_type('instant') }}) as valid_to,
    true as is_current,
    true as is_shared
from shares
