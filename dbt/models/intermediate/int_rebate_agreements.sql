{{ union_sources('rebate_agreements') }}
