"""``/v1/videos``: mapping, requests, views, sprite sheets and routes."""
