{{ union_sources('location_records') }}
