"""Framemill's own REST API below ``/v1/``: schemas of requests, views of responses, one module of routes per topic."""
