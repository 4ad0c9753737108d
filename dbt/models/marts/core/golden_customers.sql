{%- set relation %}(
    select records.*, xref.customer_id
    from {{ ref('int_customer_records') }} as records
    inner join {{ ref('customer_xref') }} as xref on records.record_id = xref.record_id and xref.is_current
    left join {{ ref('int_tombstones') }} as gone on records.record_id = gone.gone_record_id and gone.is_deleted
    left join {{ ref('customer_xref') }} as kept on gone.merged_into_record_id = kept.record_id and kept.is_current
    -- What was merged away at its source is told by what took its place.
    where kept.customer_id is null or kept.customer_id <> xref.customer_id
)
{%- endset -%}
{{ survive(relation, 'customer_id', 'customer', golden_units('customer')) }}
