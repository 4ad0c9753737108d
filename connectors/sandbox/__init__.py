"""The sandbox company: one simulated business whose systems answer on loopback with their vendors' protocols."""
