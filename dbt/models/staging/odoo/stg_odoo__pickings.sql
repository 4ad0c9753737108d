{{ latest(source('landing', 'odoo__pickings'), keys=['id'], order='modified_at') }}
