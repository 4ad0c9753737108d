{{ latest(source('landing', 'sap_s4__partners'), keys=['partner'], order='touched_on') }}
