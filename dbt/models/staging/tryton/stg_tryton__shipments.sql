{{ latest(source('landing', 'tryton__shipments'), keys=['id'], order='modified_at') }}
