"""Order flows as data: versioned documents, linted, folded over an order's events."""
