{{ latest(source('landing', 'tryton__products'), keys=['id'], order='modified_at') }}
