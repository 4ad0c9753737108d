{{ latest(source('landing', 'tryton__tombstones'), keys=['stream', 'record_key'], order='noticed_at') }}
