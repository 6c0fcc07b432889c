"""The routes of clients: submitting jobs, polling them, logging in, describing endpoints."""
