"""Requests and responses of the native API: the schemas, and the views that build response bodies."""
