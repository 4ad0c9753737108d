{{ union_sources('rebates') }}
