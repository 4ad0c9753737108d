{{ latest_children(source('landing', 'sap_s4__product_texts'), ref('stg_sap_s4__products'), parent_keys=['product'],
                   keys=['product', 'language']) }}
