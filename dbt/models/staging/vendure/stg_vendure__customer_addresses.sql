{{ latest_children(source('landing', 'vendure__customer_addresses'), ref('stg_vendure__customers'), parent_keys=['customer_id'],
                   keys=['address_id']) }}
