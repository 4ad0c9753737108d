{{ latest(source('landing', 'alipay__account_entries'), keys=['entry_no'], order='happened_at') }}
