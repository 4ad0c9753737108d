{{ latest(source('landing', 'sap_s4__tombstones'), keys=['stream', 'record_key'], order='noticed_at') }}
