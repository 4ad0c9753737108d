{%- set relation %}(
    select records.*, xref.customer_id
    from {{ ref('int_customer_records') }} as records
    inner join {{ ref('customer_xref') }} as xref on records.record_id = xref.record_id and xref.is_current
)
{%- endset -%}
{{ survive(relation, 'customer_id', 'customer', golden_units('customer')) }}
