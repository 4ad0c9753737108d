{{ latest_children(source('landing', 'karrio__rates'), ref('stg_karrio__shipments'),
                   parent_keys={'shipment_id': 'id'}, keys=['shipment_id', '_child_index']) }}
