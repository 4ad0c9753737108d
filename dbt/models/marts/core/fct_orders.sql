-- One row per canonical order. The contract in _fct_orders.yml lists the columns, their types, the group of each and
-- when a null means "unknown"; flags, completeness and the hash are built from that list. The status is folded from what
-- has happened, so that a late message cannot push a delivered order back.
{% set contract = contract_columns() -%}
with stated as (
    select
        assembled.*,
        shipment_count > 1 as is_split,
        case
            when furthest_step < 6 and (record_status = 'cancelled' or cancelled_at is not null) then 'cancelled'
            when record_status = 'returned' then 'returned'
            when record_status = 'closed' or closed_at is not null then 'closed'
            when greatest(furthest_step, stated_step) >= 8 then 'delivered'
            when greatest(furthest_step, stated_step) >= 6 then 'shipped'
            when greatest(furthest_step, stated_step) >= 3 then 'processing'
            when record_status is not null or furthest_step > 1 then 'open'
        end as order_status
    from {{ ref('int_orders_assembled') }} as assembled
),

-- reached_step: the step up to which instants ought to be known; every step while the status itself is unknown.
reached as (
    select
        stated.*,
        case
            when order_status is null then 99
            when order_status in ('delivered', 'returned', 'closed') then 8
            else greatest(furthest_step, case order_status when 'shipped' then 6 else 0 end)
        end as reached_step,
        coalesce(order_type, '') = 'pos' as is_over_the_counter
        {%- for name, column in contract.items() if column.meta.get('unfed') %},
        cast(null as {{ column.data_type }}) as {{ name }}
        {%- endfor %}
    from stated
),

{#- Attributes that count for completeness, and their groups. -#}
{%- set attributes = {} -%}
{%- for name, column in contract.items() if column.meta.get('group', 'quality') != 'quality' -%}
    {%- do attributes.update({name: column.meta}) -%}
{%- endfor -%}
{%- set groups = {} -%}
{%- for name, meta in attributes.items() if meta.get('unknown_when') != 'never' -%}
    {%- do groups.setdefault(meta.group, []).append(name) -%}
{%- endfor %}

typed as (
    select
        reached.*
        {%- for name in groups.values() | sum(start=[]) %},
        case when {{ attributes[name].get('unknown_when') or name ~ ' is null' }} then 1 else 0 end as unknown_{{ name }}
        {%- endfor %}
    from reached
),

{% set flags = {
    'conflict:currency': 'currency_conflict = 1',
    'conflict:net_amount': 'net_amount_conflict = 1',
    'currency:paid_amount': 'paid_amount_currency_conflict = 1',
    'currency:refunded_amount': 'refunded_amount_currency_conflict = 1',
    'lines:net_amount': 'lines_conflict = 1',
    'sequence:life_cycle': 'is_out_of_sequence = 1',
    'uom:unit_qty': 'uom_conflict = 1',
} -%}
{%- for group, names in groups.items() -%}
    {%- set all_unknown = 'unknown_' ~ names | join(' = 1 and unknown_') ~ ' = 1' -%}
    {%- do flags.update({'unknown:' ~ group: all_unknown}) -%}
    {%- for name in names -%}
        {%- do flags.update({'unknown:' ~ name: 'unknown_' ~ name ~ ' = 1 and not (' ~ all_unknown ~ ')'}) -%}
    {%- endfor -%}
{%- endfor -%}
{% set told = [] -%}
{%- for flag, condition in flags.items() | sort -%}
    {%- do told.append('case when ' ~ condition ~ " then ',\"" ~ flag ~ "\"' else '' end") -%}
{%- endfor -%}
flagged as (
    select
        typed.*,
        '[' || substr({{ joined_text(told) }}, 2) || ']' as quality_flags,
        {{ rounded_ratio(
            attributes | length ~ ' - (' ~ 'unknown_' ~ groups.values() | sum(start=[]) | join(' + unknown_') ~ ')',
            attributes | length
        ) }} as completeness_ratio,
        cast(null as {{ column_type('text') }}) as release_id,
        cast(null as {{ column_type('text') }}) as row_hash
    from typed
),

contracted as (
    select {{ contracted() }}
    from flagged
)

select
    {%- for name, column in contract.items() %}
        {%- if name == 'row_hash' %}
    {{ sha256_text(canonical_row(contract)) }} as row_hash{{ ',' if not loop.last }}
        {%- else %}
    {{ name }}{{ ',' if not loop.last }}
        {%- endif %}
    {%- endfor %}
from contracted
