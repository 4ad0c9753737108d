{{ crosswalk('customer') }}
