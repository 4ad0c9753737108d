{{ latest(source('landing', 'hubspot__contacts'), keys=['id'], order='modified_at') }}
