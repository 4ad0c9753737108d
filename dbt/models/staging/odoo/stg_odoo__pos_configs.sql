{{ latest(source('landing', 'odoo__pos_configs'), keys=['id'], order='modified_at') }}
