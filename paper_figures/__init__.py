"""Figures redrawn from committed records, one module per figure."""
