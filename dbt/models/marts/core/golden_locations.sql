{{ survive(linked_records('location'), 'location_id', 'location', golden_units('location')) }}
