{{ latest(source('landing', 'square__tombstones'), keys=['stream', 'record_key'], order='noticed_at') }}
