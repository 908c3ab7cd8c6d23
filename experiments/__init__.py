"""Command-line experiments: parse, call, write."""
