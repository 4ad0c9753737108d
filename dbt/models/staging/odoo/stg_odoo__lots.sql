{{ latest(source('landing', 'odoo__lots'), keys=['id'], order='modified_at') }}
