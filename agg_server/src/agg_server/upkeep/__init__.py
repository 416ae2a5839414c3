"""Keeping a federation for years: backup and restore, verification, pruning."""
