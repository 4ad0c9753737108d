{{ union_sources('lot_origins') }}
