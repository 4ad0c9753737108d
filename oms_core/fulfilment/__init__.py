"""What is free to promise, and who was promised what."""
