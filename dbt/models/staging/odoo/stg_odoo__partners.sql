{{ latest(source('landing', 'odoo__partners'), keys=['id'], order='modified_at') }}
