{#- A source record has at most one current link, of those that where_single leaves. -#}
{% test one_current_link(model, where_single='true') %}
select record_id, count(*) as link_count
from {{ model }}
where is_current and {{ where_single }}
group by record_id
having count(*) > 1
{% endtest %}
