{{ latest_children(source('landing', 'sap_s4__sales_order_items'), ref('stg_sap_s4__sales_orders'), parent_keys=['sales_order'],
                   keys=['sales_order', 'item']) }}
