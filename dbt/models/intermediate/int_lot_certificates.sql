{{ union_sources('lot_certificates') }}
