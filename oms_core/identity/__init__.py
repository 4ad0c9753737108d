"""Identity: which records mean the same customer, SKU, location and order, under ids that never move."""
