"""The two doors: gate 1 checks every landed batch, gate 2 the marts before a release."""
