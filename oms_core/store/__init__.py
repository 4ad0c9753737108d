"""The operational store: PostgreSQL, its tables, its migrations, and fast ways in and out."""
