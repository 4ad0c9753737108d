{{ conform('reference_rates', ref('stg_ecb_fx__reference_rates'), {
    'source_key': "cast(rate_on as " ~ column_type('text') ~ ") || '/' || currency",
    'source_updated_at': 'published_at',
    'base_currency': "'EUR'",
    'quote_currency': 'currency',
    'rate': 'rate',
    'rate_on': 'rate_on',
}) }}
