"""Which source is believed for which value of a golden record, and where trusted sources contradict each other."""
