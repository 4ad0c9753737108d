"""Sourcing of the released orders: read what it needs, decide, keep the decision, and reserve what it takes."""
