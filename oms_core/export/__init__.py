"""What leaves in other tools' formats: data contracts, lineage, event logs."""
