"""What people decide about identity, what they are asked, and what they are shown."""
