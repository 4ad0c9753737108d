{{ conform_tombstones('tryton', ref('stg_tryton__tombstones')) }}
