"""The books: reconciliation per period, closing a period, restatements of what was closed."""
