"""Devoid Generator's protocol: one WebSocket for each service, jobs for AUTOMATIC1111 and Kandinsky."""
