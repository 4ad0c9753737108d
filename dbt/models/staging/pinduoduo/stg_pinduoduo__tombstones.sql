{{ latest(source('landing', 'pinduoduo__tombstones'), keys=['stream', 'record_key'], order='noticed_at') }}
