{{ latest(source('landing', 'zendesk__ticket_fields'), keys=['id'], order='updated_at') }}
