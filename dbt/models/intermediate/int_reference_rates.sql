{{ union_sources('reference_rates') }}
