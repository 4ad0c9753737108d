{{ latest_children(source('landing', 'zendesk__ticket_changes'), ref('stg_zendesk__ticket_events'),
                   parent_keys={'event_id': 'id'}, keys=['event_id', 'change_id']) }}
