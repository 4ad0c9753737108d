{{ latest(source('landing', 'sap_s4__products'), keys=['product'], order='changed_at') }}
