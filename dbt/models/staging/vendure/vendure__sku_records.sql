{{ conform('sku_records', ref('stg_vendure__variants'), {
    'source_key': 'variant_id',
    'source_updated_at': 'updated_at',
    'sku_code': 'sku',
    'title': 'name',
    'parent_key': record_id('vendure', 'products', 'product_id'),
}) }}
