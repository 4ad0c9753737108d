{{ latest_children(source('landing', 'vendure__order_payments'), ref('stg_vendure__orders'), parent_keys=['order_id'],
                   keys=['payment_id']) }}
