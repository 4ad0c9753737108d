-- What a customer's account owes has not come in. Odoo is not told what a bank or a wallet keeps: the fee stays unknown.
with taken as (
    select
        *,
        case
            when method_type = 'cash' then 'cash'
            when lower(method_name) like '%alipay%' or method_name like '%支付宝%' then 'alipay'
            when lower(method_name) like '%wechat%' or method_name like '%微信%' then 'wechat_pay'
            when card_type is not null or card_brand is not null then 'card'
            else lower(method_name)
        end as method,
        case
            when order_state = 'cancel' or payment_status = 'reversed' then 'cancelled'
            when order_state = 'draft' or method_type = 'pay_later' or coalesce(payment_status, 'done') <> 'done' then 'pending'
            else 'captured'
        end as canonical_status
    from {{ ref('stg_odoo__pos_takings') }}
    where taken_amount >= 0
)

{{ conform('payments', 'taken', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'payment_key': 'id',
    'order_record_id': record_id('odoo', 'pos_orders', 'order_id'),
    'method': 'method',
    'amount': 'taken_amount',
    'currency': 'currency',
    'paid_at': "case when canonical_status = 'captured' then paid_at end",
    'payment_status': 'canonical_status',
}) }}
