{{ latest(source('landing', 'odoo__quants'), keys=['id'], order='modified_at') }}
