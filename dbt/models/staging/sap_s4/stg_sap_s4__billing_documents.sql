{{ latest(source('landing', 'sap_s4__billing_documents'), keys=['billing_document'], order='changed_at') }}
