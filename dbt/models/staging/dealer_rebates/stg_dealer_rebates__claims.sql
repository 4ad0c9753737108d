{{ latest_children(
    source('landing', 'dealer_rebates__claims'),
    ref('stg_dealer_rebates__documents'),
    parent_keys=['document_id'],
    keys=['document_id', '_child_index']
) }}
