{#- A source record has at most one current link. -#}
{% test one_current_link(model) %}
select record_id, count(*) as link_count
from {{ model }}
where is_current
group by record_id
having count(*) > 1
{% endtest %}
