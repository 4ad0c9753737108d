"""The sandbox company: one simulated business whose systems answer on loopback as their vendors' do."""
