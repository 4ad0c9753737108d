{{ union_sources('tombstones') }}
