-- A product that its source deleted takes its variants with it.
with gone as (
    select
        records.record_id,
        coalesce(own.noticed_at, of_product.noticed_at) as noticed_at
    from {{ ref('int_sku_records') }} as records
    left join {{ ref('int_tombstones') }} as own on records.record_id = own.gone_record_id and own.is_deleted
    left join {{ ref('int_tombstones') }} as of_product
        on records.parent_key = of_product.gone_record_id and of_product.is_deleted
)

{{ crosswalk('sku', 'gone') }}
