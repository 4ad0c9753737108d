{{ latest(source('landing', 'tryton__addresses'), keys=['id'], order='modified_at') }}
