{{ latest_children(source('landing', 'vendure__order_lines'), ref('stg_vendure__orders'), parent_keys=['order_id'],
                   keys=['line_id']) }}
