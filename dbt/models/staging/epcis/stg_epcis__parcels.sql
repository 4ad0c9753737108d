-- Which document each logistic unit was packed for; a unit packed again counts for the last one.
select
    sscc,
    document_event_id
from (
    select
        units.sscc,
        documents.event_id as document_event_id,
        row_number() over (partition by units.sscc order by documents.occurred_at desc, documents.event_id) as pack_rank
    from {{ ref('stg_epcis__documents') }} as documents
    inner join {{ ref('stg_epcis__event_epcs') }} as units on documents.event_id = units.event_id
    where units.role = 'parent' and units.sscc is not null
) as packed
where pack_rank = 1
