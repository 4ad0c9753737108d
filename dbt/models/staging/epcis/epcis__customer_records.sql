-- Suppliers: whoever owned raw material when it came into being, as the newest such event names them.
with suppliers as (
    select *
    from (
        select
            parties.*,
            events.supplier_name,
            events.recorded_at,
            row_number() over (
                partition by parties.gln order by events.recorded_at desc, events.event_id
            ) as naming_rank
        from {{ ref('stg_epcis__event_parties') }} as parties
        inner join {{ ref('stg_epcis__events') }} as events on parties.event_id = events.event_id
        where
            parties.direction = 'source' and parties.party_type = 'owning_party' and parties.gln is not null
            and events.biz_step = 'commissioning' and events.error_declared_at is null
    ) as named
    where naming_rank = 1
)

{{ conform('customer_records', 'suppliers', {
    'source_key': 'gln',
    'source_updated_at': 'recorded_at',
    'customer_type': "'company'",
    'full_name': 'supplier_name',
    'company_name': 'supplier_name',
}) }}
