{{ latest(source('landing', 'zendesk__ticket_events'), keys=['id'], order='created_at') }}
