"""Releases: what readers see, published whole, kept for ever by release interval, sealed by a Merkle root."""
