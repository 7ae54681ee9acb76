"""Compose: what runs, in which order, with which numbers."""
