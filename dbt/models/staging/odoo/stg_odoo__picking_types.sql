{{ latest(source('landing', 'odoo__picking_types'), keys=['id'], order='modified_at') }}
