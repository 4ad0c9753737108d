{{ latest_children(source('landing', 'sap_s4__billing_items'), ref('stg_sap_s4__billing_documents'), parent_keys=['billing_document'],
                   keys=['billing_document', 'item']) }}
