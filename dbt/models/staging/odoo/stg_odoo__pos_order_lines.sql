{{ latest(source('landing', 'odoo__pos_order_lines'), keys=['id'], order='modified_at') }}
