select {{ contracted() }}
from {{ source('identity', 'sku_relations') }}
