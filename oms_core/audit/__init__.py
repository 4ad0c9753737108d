"""Proof: Merkle trees over what was released, and the way from a value back to the bytes it came from."""
