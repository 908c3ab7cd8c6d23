"""Measurements of the training side, each beside the peer it replaces."""
