{{ latest_children(source('landing', 'sap_s4__partner_addresses'), ref('stg_sap_s4__partners'), parent_keys=['partner'],
                   keys=['partner', 'address_id']) }}
