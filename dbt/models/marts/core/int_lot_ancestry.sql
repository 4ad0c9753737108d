{{ config(schema='intermediate') }}
-- Every lot with every lot that is in it, itself included. Each round doubles how far back the ways reach, so that four
-- rounds follow sixteen transformations on every engine, without recursion and whatever circles rework may make.
-- The test is_closed fails where a way goes on.
{%- set rounds = 4 %}
with links as (
    select distinct
        from_lot_id,
        to_lot_id
    from {{ ref('int_lot_links') }}
),

lots as (
    select lot_id from {{ ref('int_order_lots') }}
    union
    select lot_id from {{ ref('int_lot_origins') }}
    union
    select from_lot_id from links
    union
    select to_lot_id from links
),

ways_0 as (
    select lot_id, lot_id as ancestor_lot_id from lots
    union
    select to_lot_id, from_lot_id from links
)
{%- for number in range(1, rounds + 1) %},

ways_{{ number }} as (
    select distinct
        nearer.lot_id,
        further.ancestor_lot_id
    from ways_{{ number - 1 }} as nearer
    inner join ways_{{ number - 1 }} as further on nearer.ancestor_lot_id = further.lot_id
)
{%- endfor %}

select
    lot_id,
    ancestor_lot_id
from ways_{{ rounds }}
