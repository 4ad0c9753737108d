{{ conform('customer_records', ref('stg_file_drop__customers'), {
    'source_key': 'customer_code_key',
    'full_name': 'customer_name',
    'email': 'customer_email',
    'country': 'customer_country',
}) }}
