{{ union_sources('order_lots') }}
