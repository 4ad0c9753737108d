{{ latest_children(source('landing', 'vendure__order_fulfillment_lines'), ref('stg_vendure__orders'),
                   parent_keys=['order_id'], keys=['fulfillment_id', 'line_id']) }}
