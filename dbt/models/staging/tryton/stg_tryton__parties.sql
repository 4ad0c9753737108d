{{ latest(source('landing', 'tryton__parties'), keys=['id'], order='modified_at') }}
