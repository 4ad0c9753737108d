{{ conform_tombstones('sap_s4', ref('stg_sap_s4__tombstones')) }}
