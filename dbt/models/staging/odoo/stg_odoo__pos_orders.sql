{{ latest(source('landing', 'odoo__pos_orders'), keys=['id'], order='modified_at') }}
