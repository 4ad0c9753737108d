{{ union_sources('settlement_lines') }}
