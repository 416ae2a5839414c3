"""Blobs, in a folder or in S3-compatible storage: there whole or not at all, and found under their hash."""
