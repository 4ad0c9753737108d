-- Odoo writes 0 for a weight or volume nobody entered.
{{ conform('sku_records', ref('stg_odoo__products'), {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'sku_code': 'default_code',
    'title': 'name',
    'gtin': 'barcode',
    'gtin14': 'barcode_gtin14',
    'category_code': "replace(category_name, 'All / ', '')",
    'weight_kg': 'nullif(weight_kg, 0)',
    'volume_m3': 'nullif(volume_m3, 0)',
    'unit_cost_amount': 'standard_price',
    'cost_currency': 'cost_currency',
    'origin_country': 'origin_country_iso2',
    'parent_key': record_id('odoo', 'templates', 'template_id'),
}) }}
