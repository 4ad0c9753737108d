{{ latest_children(source('landing', 'square__catalog_variations'), ref('stg_square__catalog_items'),
                   parent_keys=['item_id'], keys=['item_id', 'variation_id']) }}
