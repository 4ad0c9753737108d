{{ latest(source('landing', 'odoo__move_lines'), keys=['id'], order='modified_at') }}
