{{ conform_tombstones('odoo', ref('stg_odoo__tombstones')) }}
