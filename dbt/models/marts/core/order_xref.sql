{{ crosswalk('order') }}
