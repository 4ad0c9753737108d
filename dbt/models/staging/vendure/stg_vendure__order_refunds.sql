{{ latest_children(source('landing', 'vendure__order_refunds'), ref('stg_vendure__orders'), parent_keys=['order_id'],
                   keys=['refund_id']) }}
