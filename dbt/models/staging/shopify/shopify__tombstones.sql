{{ conform_tombstones('shopify', ref('stg_shopify__tombstones')) }}
