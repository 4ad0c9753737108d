{{ latest(source('landing', 'tryton__locations'), keys=['id'], order='modified_at') }}
