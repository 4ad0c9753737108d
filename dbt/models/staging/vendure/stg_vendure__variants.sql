{{ latest(source('landing', 'vendure__variants'), keys=['variant_id'], order='updated_at') }}
