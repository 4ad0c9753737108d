{{ latest(source('landing', 'hubspot__companies'), keys=['id'], order='modified_at') }}
