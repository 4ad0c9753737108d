"""Scores for pairs of records: people, companies and places by fields, products by titles; trained without labels."""
