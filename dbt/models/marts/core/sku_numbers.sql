-- Every code and barcode any system has for a SKU, as written: what it is found by where its best-believed code does not tell.
with linked as (
    select
        records.record_id,
        xref.sku_id,
        records.source_system,
        records.sku_code,
        records.mpn,
        records.gtin,
        records.gtin14
    from {{ ref('int_sku_records') }} as records
    inner join {{ ref('sku_xref') }} as xref on records.record_id = xref.record_id and xref.is_current
),

numbers as (
    select record_id, sku_id, source_system, sku_code as sku_number from linked
    union
    select record_id, sku_id, source_system, mpn as sku_number from linked
    union
    select record_id, sku_id, source_system, gtin as sku_number from linked
    union
    select record_id, sku_id, source_system, gtin14 as sku_number from linked
)

select {{ contracted() }}
from numbers
where sku_number is not null and sku_number <> ''
