{{ latest_children(source('landing', 'vendure__order_history'), ref('stg_vendure__orders'), parent_keys=['order_id'],
                   keys=['entry_id']) }}
