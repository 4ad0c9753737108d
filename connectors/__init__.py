"""Connectors: pull records from source systems and land them, with the bytes as received kept beside them."""
