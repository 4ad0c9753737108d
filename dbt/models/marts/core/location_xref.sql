{{ crosswalk('location') }}
