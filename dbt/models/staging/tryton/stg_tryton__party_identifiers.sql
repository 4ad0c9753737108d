{{ latest(source('landing', 'tryton__party_identifiers'), keys=['id'], order='modified_at') }}
