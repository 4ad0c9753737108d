{{ latest(source('landing', 'odoo__bom_lines'), keys=['id'], order='modified_at') }}
