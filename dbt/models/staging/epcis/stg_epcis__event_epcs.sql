{{ latest_children(source('landing', 'epcis__event_epcs'), ref('stg_epcis__events'),
                   parent_keys=['event_id'], keys=['event_id', '_child_index']) }}
