{{ union_sources('order_events') }}
