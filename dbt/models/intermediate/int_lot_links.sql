{{ union_sources('lot_links') }}
