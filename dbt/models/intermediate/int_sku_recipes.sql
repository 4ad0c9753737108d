{{ union_sources('sku_recipes') }}
