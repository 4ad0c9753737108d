{{ latest_children(source('landing', 'square__payment_fees'), ref('stg_square__payments'),
                   parent_keys=['payment_id'], keys=['payment_id', '_child_index']) }}
