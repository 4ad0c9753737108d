{#- express or standard out of karrio's service codes, such as sf_express_standard; other codes as they are. -#}
{% macro karrio_service_level(service) -%}
    case
        when {{ service }} like '%express' or {{ service }} like '%overnight%' then 'express'
        when {{ service }} like '%standard' or {{ service }} like '%ground%' then 'standard'
        else {{ service }}
    end
{%- endmacro %}
