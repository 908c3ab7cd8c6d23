"""Figures drawn from tidy tables: they read tables and never train."""
