{{ union_sources('sku_records') }}
