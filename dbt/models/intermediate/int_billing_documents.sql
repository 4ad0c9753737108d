{{ union_sources('billing_documents') }}
