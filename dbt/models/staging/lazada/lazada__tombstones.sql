{{ conform_tombstones('lazada', ref('stg_lazada__tombstones')) }}
