"""Systematic-aware discriminants: event models, trainers, binnings, templates and workspaces."""
