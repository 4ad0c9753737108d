{{ conform_tombstones('pinduoduo', ref('stg_pinduoduo__tombstones')) }}
