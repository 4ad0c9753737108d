{{ latest(source('landing', 'odoo__moves'), keys=['id'], order='modified_at') }}
