{{ latest(source('landing', 'odoo__warehouses'), keys=['id'], order='modified_at') }}
