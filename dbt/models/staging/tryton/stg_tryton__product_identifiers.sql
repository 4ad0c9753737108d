{{ latest(source('landing', 'tryton__product_identifiers'), keys=['id'], order='modified_at') }}
