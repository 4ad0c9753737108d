{{ latest(source('landing', 'odoo__locations'), keys=['id'], order='modified_at') }}
