{{ crosswalk('sku') }}
