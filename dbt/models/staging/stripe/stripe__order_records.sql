-- A payment is no order: it names the order it pays, and says nothing else of it.
{{ conform('order_records', ref('stg_stripe__charges'), {
    'source_key': 'charge_id',
    'source_updated_at': 'created_at',
    'document_role': "'payment'",
    'currency': 'currency',
}) }}
