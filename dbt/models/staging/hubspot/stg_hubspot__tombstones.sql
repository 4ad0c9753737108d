{{ latest(source('landing', 'hubspot__tombstones'), keys=['stream', 'record_key'], order='noticed_at') }}
