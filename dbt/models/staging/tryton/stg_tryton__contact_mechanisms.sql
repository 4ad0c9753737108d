{{ latest(source('landing', 'tryton__contact_mechanisms'), keys=['id'], order='modified_at') }}
