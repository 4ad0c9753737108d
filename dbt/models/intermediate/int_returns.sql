{{ union_sources('returns') }}
