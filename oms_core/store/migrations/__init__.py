"""Alembic's steps that make and change the tables of the operational store."""
