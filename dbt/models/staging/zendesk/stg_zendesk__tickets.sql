{{ latest(source('landing', 'zendesk__tickets'), keys=['id'], order='coalesce(generated_at, updated_at)') }}
