"""OpenAI's API for images and videos.

- ``wire``: what both have in common: access, errors, schemas, mapping, and repeats of requests
- ``images``, ``videos``: their mapping, requests, views and routes
- ``setup``: adds the routes
"""
