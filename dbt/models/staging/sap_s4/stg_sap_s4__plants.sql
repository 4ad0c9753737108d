{{ latest(source('landing', 'sap_s4__plants'), keys=['plant']) }}
