{{ latest(source('landing', 'tryton__moves'), keys=['id'], order='modified_at') }}
