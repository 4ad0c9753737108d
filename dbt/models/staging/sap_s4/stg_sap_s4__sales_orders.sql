{{ latest(source('landing', 'sap_s4__sales_orders'), keys=['sales_order'], order='changed_at') }}
