{{ conform_tombstones('douyin', ref('stg_douyin__tombstones')) }}
