{{ conform('sku_records', ref('stg_file_drop__skus'), {
    'source_key': 'sku_code_key',
    'sku_code': 'sku_code',
    'title': 'title',
}) }}
