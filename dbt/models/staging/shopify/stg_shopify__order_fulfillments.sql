{{ latest_children(source('landing', 'shopify__order_fulfillments'), ref('stg_shopify__orders'),
                   parent_keys=['order_id'], keys=['order_id', 'fulfillment_id']) }}
