{#-
  Fulfilment network whose stock a marketplace shows: the marketplaces of one network show the same units.

  Source: https://developer-docs.amazon.com/sp-api/docs/marketplace-ids
-#}
{% macro amazon_network(marketplace_id) -%}
    case
        when {{ marketplace_id }} in ('ATVPDKIKX0DER', 'A2EUQ1WTGCTBG2', 'A1AM78C64UM0Y8') then 'NA'
        when {{ marketplace_id }} = 'A1F83G8C2ARO7P' then 'UK'
        when {{ marketplace_id }} in (
            'A1PA6795UKMFR9', 'A13V1IB3VIYZZH', 'A1RKKUPIHCS9HS', 'APJ6JRA9NG5V4', 'A1805IZSGTT6HS', 'AMEN7PMS3EDWL',
            'A1C3SOZRARQ6R3', 'A2NODRKZP88ZB9'
        ) then 'EU'
        else {{ marketplace_id }}
    end
{%- endmacro %}
