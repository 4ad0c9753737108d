-- A deleted product stays, and says so in its status.
{{ told_deleted(ref('stg_douyin__products'), 'products', 'item_id', "status = 2") }}
