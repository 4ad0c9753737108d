{#- The column names its row: never null, never twice. One query for what unique and not_null ask in two. -#}
{% test is_key(model, column_name) %}
select {{ column_name }}, count(*) as row_count
from {{ model }}
group by {{ column_name }}
having count(*) > 1 or {{ column_name }} is null
{% endtest %}
