{{ latest_children(source('landing', 'sap_s4__contract_conditions'), ref('stg_sap_s4__condition_contracts'), parent_keys=['contract'],
                   keys=['contract', 'condition_type']) }}
