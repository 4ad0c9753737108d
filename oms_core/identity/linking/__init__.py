"""Anybody's files: read, recognised, matched and measured, with nothing set up before."""
