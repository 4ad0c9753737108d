{{ latest(source('landing', 'zendesk__users'), keys=['id'], order='updated_at') }}
