with gone as (
    select
        gone_record_id as record_id,
        noticed_at
    from {{ ref('int_tombstones') }}
    where is_deleted
)

{{ crosswalk('location', 'gone') }}
