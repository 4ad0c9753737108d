{{ latest_children(source('landing', 'vendure__order_fulfillments'), ref('stg_vendure__orders'), parent_keys=['order_id'],
                   keys=['fulfillment_id']) }}
