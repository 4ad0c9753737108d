{{ union_sources('order_records') }}
