{%- set relation %}(
    select records.*, xref.sku_id
    from {{ ref('int_sku_records') }} as records
    inner join {{ ref('sku_xref') }} as xref on records.record_id = xref.record_id and xref.is_current
)
{%- endset %}
with survived as (
{{ survive(relation, 'sku_id', 'sku', {
    'code': {'rules': 'title', 'anchor': 'sku_code', 'attributes': {'sku_code': ('sku_code', 'text')}},
    'title': {'rules': 'title', 'anchor': 'title', 'attributes': {'title': ('title', 'text')}},
    'brand': {'rules': 'title', 'anchor': 'brand', 'attributes': {'brand': ('brand', 'text')}},
    'gtin': {'rules': 'identifier', 'anchor': 'gtin14', 'attributes': {'gtin14': ('gtin14', 'text')}},
    'mpn': {'rules': 'identifier', 'anchor': 'mpn', 'attributes': {'mpn': ('mpn', 'text')}},
    'category': {'rules': 'category', 'anchor': 'category_code', 'attributes': {
        'category_code': ('category_code', 'text')}},
    'size': {'rules': 'size', 'anchor': 'coalesce(size_qty, pack_qty)', 'attributes': {
        'size_qty': ('size_qty', 'quantity'), 'size_uom': ('size_uom', 'text'), 'pack_qty': ('pack_qty', 'quantity')}},
    'weight': {'rules': 'measure', 'anchor': 'weight_kg', 'attributes': {'weight_kg': ('weight_kg', 'quantity')}},
    'volume': {'rules': 'measure', 'anchor': 'volume_m3', 'attributes': {'volume_m3': ('volume_m3', 'quantity')}},
    'cold_chain': {'rules': 'handling', 'anchor': 'needs_cold_chain', 'attributes': {
        'needs_cold_chain': ('needs_cold_chain', 'boolean')}},
    'bundle': {'rules': 'handling', 'anchor': 'is_bundle', 'attributes': {'is_bundle': ('is_bundle', 'boolean')}},
    'cost': {'rules': 'cost', 'anchor': 'unit_cost_amount', 'attributes': {
        'unit_cost_amount': ('unit_cost_amount', 'amount'), 'cost_currency': ('cost_currency', 'text')}},
    'origin': {'rules': 'origin', 'anchor': 'origin_country', 'attributes': {
        'origin_country': ('origin_country', 'text')}},
}) }}
)

-- Handling that no system states for the SKU itself follows from its category.
select
    survived.sku_id,
    {%- for name in [
        'sku_code', 'title', 'brand', 'gtin14', 'mpn', 'category_code', 'size_qty', 'size_uom', 'pack_qty', 'weight_kg',
        'volume_m3', 'unit_cost_amount', 'cost_currency', 'origin_country',
    ] %}
    survived.{{ name }},
    {%- endfor %}
    {%- for group in ['code', 'title', 'brand', 'gtin', 'mpn', 'category', 'size', 'weight', 'volume', 'cost', 'origin'] %}
    survived.{{ group }}_record_id,
    survived.{{ group }}_rule,
    {%- endfor %}
    {%- for name, group in {'needs_cold_chain': 'cold_chain', 'is_bundle': 'bundle'}.items() %}
    coalesce(survived.{{ name }}, categories.{{ name }}) as {{ name }},
    coalesce(
        survived.{{ group }}_record_id, case when categories.{{ name }} is not null then survived.category_record_id end
    ) as {{ group }}_record_id,
    coalesce(survived.{{ group }}_rule, case when categories.{{ name }} is not null then 'category' end) as {{ group }}_rule
        {{- ',' if not loop.last }}
    {%- endfor %}
from survived
left join {{ ref('categories') }} as categories on survived.category_code = categories.category_code
