"""``/v1/images`` and ``/v1/models``: mapping, requests, streams, views and routes."""
