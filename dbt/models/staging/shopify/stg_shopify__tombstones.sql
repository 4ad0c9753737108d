{{ latest(source('landing', 'shopify__tombstones'), keys=['stream', 'record_key'], order='noticed_at') }}
