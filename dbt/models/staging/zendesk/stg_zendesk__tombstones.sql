{{ latest(source('landing', 'zendesk__tombstones'), keys=['stream', 'record_key'], order='noticed_at') }}
