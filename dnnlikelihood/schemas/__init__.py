"""Versioned JSON schemas of everything that is written."""
