{{ latest(source('landing', 'vendure__stock_levels'), keys=['stock_level_id'], order='updated_at') }}
