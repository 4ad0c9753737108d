{%- set relation %}(
    select records.*, xref.customer_id
    from {{ ref('int_customer_records') }} as records
    inner join {{ ref('customer_xref') }} as xref on records.record_id = xref.record_id and xref.is_current
)
{%- endset -%}
{{ survive(relation, 'customer_id', 'customer', {
    'name': {'rules': 'name', 'anchor': 'coalesce(full_name, company_name, family_name, given_name)', 'attributes': {
        'full_name': ('full_name', 'text'), 'given_name': ('given_name', 'text'),
        'family_name': ('family_name', 'text'), 'company_name': ('company_name', 'text')}},
    'type': {'rules': 'name', 'anchor': 'customer_type', 'attributes': {'customer_type': ('customer_type', 'text')}},
    'email': {'rules': 'email', 'anchor': 'email', 'attributes': {'email': ('email', 'text')}},
    'phone': {'rules': 'phone', 'anchor': 'coalesce(phone_e164, phone)', 'attributes': {
        'phone': ('phone', 'text'), 'phone_e164': ('phone_e164', 'text')}},
    'tax_number': {'rules': 'tax_number', 'anchor': 'tax_number', 'attributes': {'tax_number': ('tax_number', 'text')}},
    'address': {'rules': 'address', 'anchor': 'coalesce(street, postcode, city, country)', 'attributes': {
        'street': ('street', 'text'), 'city': ('city', 'text'), 'region': ('region', 'text'),
        'postcode': ('postcode', 'text'), 'country': ('country', 'text')}},
    'language': {'rules': 'profile', 'anchor': 'language', 'attributes': {'language': ('language', 'text')}},
    'loyalty': {'rules': 'profile', 'anchor': 'loyalty_tier', 'attributes': {'loyalty_tier': ('loyalty_tier', 'text')}},
    'segment': {'rules': 'profile', 'anchor': 'customer_segment', 'attributes': {
        'customer_segment': ('customer_segment', 'text')}},
    'preference': {'rules': 'profile', 'anchor': 'preference_tags', 'attributes': {
        'preference_tags': ('preference_tags', 'text')}},
    'consent': {'rules': 'consent', 'anchor': 'marketing_consent', 'attributes': {
        'marketing_consent': ('marketing_consent', 'boolean')}},
}) }}
