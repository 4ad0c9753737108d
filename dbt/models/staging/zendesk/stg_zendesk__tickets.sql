{{ latest(source('landing', 'zendesk__tickets'), keys=['id'], order='generated_at') }}
