{{ latest(source('landing', 'odoo__pos_payment_methods'), keys=['id'], order='modified_at') }}
