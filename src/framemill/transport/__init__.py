"""Internals of the client: requests, responses, connections, retries and polling. Applications do not import it."""
