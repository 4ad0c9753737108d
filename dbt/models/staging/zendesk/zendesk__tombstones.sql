{{ conform_tombstones('zendesk', ref('stg_zendesk__tombstones')) }}
