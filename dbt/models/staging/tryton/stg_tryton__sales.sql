{{ latest(source('landing', 'tryton__sales'), keys=['id'], order='modified_at') }}
