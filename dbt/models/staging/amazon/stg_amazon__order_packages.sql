{{ latest_children(source('landing', 'amazon__order_packages'), ref('stg_amazon__orders'), parent_keys=['order_id'],
                   keys=['order_id', 'package_reference_id']) }}
