"""Handlers, one file for a page and what is done there: read, make a view, show it."""
