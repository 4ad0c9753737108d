{{ conform_tombstones('vendure', ref('stg_vendure__tombstones')) }}
