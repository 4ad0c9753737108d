{#-
  What survives of each golden entity, in units: {unit: {anchor: SQL that is null when a record cannot answer, attributes:
  {name: (SQL, kind)}}}. The attributes of a unit come whole from one record. Rules are looked up by unit;
  oms_core/identity/golden/survivorship.py says which attribute group each belongs to.
-#}
{% macro golden_units(entity) %}
    {{ return({
        'customer': {
            'name': {'anchor': 'coalesce(full_name, company_name, family_name, given_name)', 'attributes': {
                'full_name': ('full_name', 'text'), 'given_name': ('given_name', 'text'),
                'family_name': ('family_name', 'text'), 'company_name': ('company_name', 'text')}},
            'type': {'anchor': 'customer_type', 'attributes': {'customer_type': ('customer_type', 'text')}},
            'email': {'anchor': 'email', 'last': is_relay_address('email'), 'attributes': {'email': ('email', 'text')}},
            'phone': {'anchor': 'coalesce(phone_e164, phone)', 'attributes': {
                'phone': ('phone', 'text'), 'phone_e164': ('phone_e164', 'text')}},
            'tax_number': {'anchor': 'tax_number', 'attributes': {'tax_number': ('tax_number', 'text')}},
            'address': {'anchor': 'coalesce(street, postcode, city, country)', 'attributes': {
                'street': ('street', 'text'), 'city': ('city', 'text'), 'region': ('region', 'text'),
                'postcode': ('postcode', 'text'), 'country': ('country', 'text')}},
            'language': {'anchor': 'language', 'attributes': {'language': ('language', 'text')}},
            'loyalty': {'anchor': 'loyalty_tier', 'attributes': {'loyalty_tier': ('loyalty_tier', 'text')}},
            'segment': {'anchor': 'customer_segment', 'attributes': {'customer_segment': ('customer_segment', 'text')}},
            'preference': {'anchor': 'preference_tags', 'attributes': {'preference_tags': ('preference_tags', 'text')}},
            'consent': {'anchor': 'marketing_consent', 'attributes': {
                'marketing_consent': ('marketing_consent', 'boolean')}},
        },
        'sku': {
            'code': {'anchor': 'sku_code', 'attributes': {'sku_code': ('sku_code', 'text')}},
            'title': {'anchor': 'title', 'attributes': {'title': ('title', 'text')}},
            'brand': {'anchor': 'brand', 'attributes': {'brand': ('brand', 'text')}},
            'gtin': {'anchor': 'gtin14', 'attributes': {'gtin14': ('gtin14', 'text')}},
            'mpn': {'anchor': 'mpn', 'attributes': {'mpn': ('mpn', 'text')}},
            'category': {'anchor': 'category_code', 'attributes': {'category_code': ('category_code', 'text')}},
            'size': {'anchor': 'coalesce(size_qty, pack_qty)', 'attributes': {
                'size_qty': ('size_qty', 'quantity'), 'size_uom': ('size_uom', 'text'),
                'pack_qty': ('pack_qty', 'quantity')}},
            'weight': {'anchor': 'weight_kg', 'attributes': {'weight_kg': ('weight_kg', 'quantity')}},
            'volume': {'anchor': 'volume_m3', 'attributes': {'volume_m3': ('volume_m3', 'quantity')}},
            'cold_chain': {'anchor': 'needs_cold_chain', 'attributes': {
                'needs_cold_chain': ('needs_cold_chain', 'boolean')}},
            'bundle': {'anchor': 'is_bundle', 'attributes': {'is_bundle': ('is_bundle', 'boolean')}},
            'cost': {'anchor': 'unit_cost_amount', 'attributes': {
                'unit_cost_amount': ('unit_cost_amount', 'amount'), 'cost_currency': ('cost_currency', 'text')}},
            'origin': {'anchor': 'origin_country', 'attributes': {'origin_country': ('origin_country', 'text')}},
        },
        'location': {
            'name': {'anchor': 'location_name', 'attributes': {'location_name': ('location_name', 'text')}},
            'type': {'anchor': 'location_type', 'attributes': {'location_type': ('location_type', 'text')}},
            'gln': {'anchor': 'gln', 'attributes': {'gln': ('gln', 'text')}},
            'code': {'anchor': 'location_code', 'attributes': {'location_code': ('location_code', 'text')}},
            'address': {'anchor': 'coalesce(street, postcode, city, country)', 'attributes': {
                'street': ('street', 'text'), 'city': ('city', 'text'), 'region': ('region', 'text'),
                'postcode': ('postcode', 'text'), 'country': ('country', 'text')}},
            'position': {'anchor': 'latitude', 'attributes': {
                'latitude': ('latitude', 'degree'), 'longitude': ('longitude', 'degree')}},
            'timezone': {'anchor': 'timezone', 'attributes': {'timezone': ('timezone', 'text')}},
        },
    }[entity]) }}
{% endmacro %}


{#- SQL condition: an address that a marketplace or a log-in service hands out instead of the person's own mailbox. -#}
{% macro is_relay_address(expression) -%}
    ({% for domain in [
        'marketplace.amazon.', 'relay.', 'privaterelay.', 'noreply.', 'guest.', 'members.ebay.', 'mozmail.',
    ] -%}
    lower({{ expression }}) like '%@{{ domain }}%'{{ ' or ' if not loop.last }}
    {%- endfor %})
{%- endmacro %}
