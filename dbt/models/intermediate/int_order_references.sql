{{ union_sources('order_references') }}
