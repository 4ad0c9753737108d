{{ conform_tombstones('square', ref('stg_square__tombstones')) }}
