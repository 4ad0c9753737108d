{{ latest(source('landing', 'amazon__inventory_summaries'), keys=['marketplace_id', 'seller_sku'],
          order='updated_at') }}
