"""Which node ships an order, when to split it, and why not another way."""
