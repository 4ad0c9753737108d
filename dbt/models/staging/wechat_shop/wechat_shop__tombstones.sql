{{ conform_tombstones('wechat_shop', ref('stg_wechat_shop__tombstones')) }}
