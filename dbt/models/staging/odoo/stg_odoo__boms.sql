{{ latest(source('landing', 'odoo__boms'), keys=['id'], order='modified_at') }}
