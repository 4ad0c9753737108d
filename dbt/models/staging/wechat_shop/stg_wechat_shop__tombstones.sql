{{ latest(source('landing', 'wechat_shop__tombstones'), keys=['stream', 'record_key'], order='noticed_at') }}
