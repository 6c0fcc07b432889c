"""How gunicorn serves the app: its worker, and the limits of connections."""
