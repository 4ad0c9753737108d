{#- No lot that is in a lot's ancestor is missing from the lot's ancestry: the bound on how far back it is followed held. -#}
{% test is_closed(model, links) %}
select ways.lot_id, links.from_lot_id
from {{ model }} as ways
inner join {{ links }} as links on ways.ancestor_lot_id = links.to_lot_id
left join {{ model }} as known on ways.lot_id = known.lot_id and links.from_lot_id = known.ancestor_lot_id
where known.lot_id is null
{% endtest %}
