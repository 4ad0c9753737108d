{{ latest_children(source('landing', 'shopify__order_refund_line_items'), ref('stg_shopify__orders'),
                   parent_keys=['order_id'], keys=['order_id', 'refund_line_item_id']) }}
