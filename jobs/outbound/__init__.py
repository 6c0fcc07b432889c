"""Requests that leave this server: checked against private addresses."""
