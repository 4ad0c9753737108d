{{ latest_children(source('landing', 'zendesk__ticket_custom_values'), ref('stg_zendesk__tickets'),
                   parent_keys={'ticket_id': 'id'}, keys=['ticket_id', 'field_id']) }}
