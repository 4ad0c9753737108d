{{ latest_children(source('landing', 'karrio__tracker_events'), ref('stg_karrio__trackers'),
                   parent_keys={'tracker_id': 'id'}, keys=['tracker_id', '_child_index']) }}
