with requesters as (
    select *
    from {{ ref('stg_zendesk__users') }}
    where role = 'end-user'
)

{{ conform('customer_records', 'requesters', {
    'source_key': 'id',
    'source_updated_at': 'updated_at',
    'full_name': 'name',
    'email': 'email',
    'phone': 'phone',
    'phone_e164': 'phone_e164',
    'language': 'locale',
    'created_at': 'created_at',
}) }}
