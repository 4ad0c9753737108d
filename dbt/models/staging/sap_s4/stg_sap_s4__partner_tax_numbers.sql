{{ latest_children(source('landing', 'sap_s4__partner_tax_numbers'), ref('stg_sap_s4__partners'), parent_keys=['partner'],
                   keys=['partner', 'tax_type']) }}
