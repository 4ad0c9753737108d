{{ union_sources('customer_records') }}
