{{ latest(source('landing', 'odoo__pos_payments'), keys=['id'], order='modified_at') }}
