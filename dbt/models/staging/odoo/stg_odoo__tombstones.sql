{{ latest(source('landing', 'odoo__tombstones'), keys=['stream', 'record_key'], order='noticed_at') }}
