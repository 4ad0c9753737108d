{{ latest(source('landing', 'sap_s4__condition_contracts'), keys=['contract']) }}
