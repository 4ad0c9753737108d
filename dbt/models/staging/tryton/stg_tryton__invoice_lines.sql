{{ latest(source('landing', 'tryton__invoice_lines'), keys=['id'], order='modified_at') }}
