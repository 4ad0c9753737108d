{{ union_sources('shipments') }}
