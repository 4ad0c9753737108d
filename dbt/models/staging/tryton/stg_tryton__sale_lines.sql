{{ latest(source('landing', 'tryton__sale_lines'), keys=['id'], order='modified_at') }}
