{{ latest(source('landing', 'square__inventory_counts'), keys=['catalog_object_id', 'location_id', 'state'],
          order='calculated_at') }}
