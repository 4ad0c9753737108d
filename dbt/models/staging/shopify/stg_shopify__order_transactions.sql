{{ latest_children(source('landing', 'shopify__order_transactions'), ref('stg_shopify__orders'),
                   parent_keys=['order_id'], keys=['order_id', 'transaction_id']) }}
