{{ latest_children(source('landing', 'karrio__parcels'), ref('stg_karrio__shipments'),
                   parent_keys={'shipment_id': 'id'}, keys=['shipment_id', '_child_index']) }}
