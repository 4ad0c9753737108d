{{ latest_children(source('landing', 'karrio__pickup_parcels'), ref('stg_karrio__pickups'),
                   parent_keys={'pickup_id': 'id'}, keys=['pickup_id', '_child_index']) }}
