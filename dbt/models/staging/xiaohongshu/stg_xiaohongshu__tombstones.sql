{{ latest(source('landing', 'xiaohongshu__tombstones'), keys=['stream', 'record_key'], order='noticed_at') }}
