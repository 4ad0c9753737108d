{{ latest(source('landing', 'tryton__templates'), keys=['id'], order='modified_at') }}
