-- Payments of tills and what they paid back, less the change given on them: cash that goes back at once was never taken.
with held as (
    select payments.*
    from {{ ref('stg_odoo__pos_payments') }} as payments
    where {{ is_held('odoo', 'pos_payments', 'payments.id') }}
),

change as (
    select
        order_id,
        payment_method_id,
        currency,
        sum(amount) as change_amount
    from held
    where is_change
    group by order_id, payment_method_id, currency
),

taken as (
    select
        held.*,
        row_number() over (partition by order_id, payment_method_id, currency order by id) as place
    from held
    where not is_change
)

select
    taken.*,
    taken.amount + case when taken.place = 1 then coalesce(change.change_amount, 0) else 0 end as taken_amount,
    methods.name as method_name,
    methods.type as method_type,
    orders.state as order_state,
    coalesce(orders.refunded_order_id, taken.order_id) as sale_id
from taken
left join change
    on
        taken.order_id = change.order_id
        and taken.payment_method_id = change.payment_method_id
        and taken.currency = change.currency
left join {{ ref('stg_odoo__pos_payment_methods') }} as methods on taken.payment_method_id = methods.id
left join {{ ref('stg_odoo__pos_orders') }} as orders on taken.order_id = orders.id
