"""Framemill's own REST API, ``/v1/…``: schemas (what is sent), views (what is answered), routes."""
