{{ latest(source('landing', 'tryton__companies'), keys=['id'], order='modified_at') }}
