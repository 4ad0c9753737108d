{{ latest(source('landing', 'odoo__products'), keys=['id'], order='modified_at') }}
