{{ latest(source('landing', 'vendure__tombstones'), keys=['stream', 'record_key'], order='noticed_at') }}
