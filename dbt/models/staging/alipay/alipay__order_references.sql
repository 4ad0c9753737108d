-- Taobao and Tmall hand their order's number to Alipay behind T200P.
with named as (
    select
        *,
        case when merchant_order_no like 'T200P%' then substr(merchant_order_no, 6) else merchant_order_no end
            as reference_value
    from {{ ref('stg_alipay__trades') }}
    where business_type = '交易' and merchant_order_no is not null
)

{{ conform('order_references', 'named', {
    'source_key': 'trade_no',
    'source_updated_at': 'completed_at',
    'order_record_id': record_id('alipay', 'trades', 'trade_no'),
    'reference_type': "'order_number'",
    'reference_value': 'reference_value',
    'target_system': "case when merchant_order_no like 'T200P%' then 'tmall' end",
}) }}
