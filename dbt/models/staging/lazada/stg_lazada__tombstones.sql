-- A deleted product stays, and says so in its status.
{{ told_deleted(ref('stg_lazada__products'), 'products', 'item_id', "lower(status) = 'deleted'") }}
