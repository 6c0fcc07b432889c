"""Runs everything on one machine: the embedded Redis, the web server, the workers and Flower.

``python -m stack up`` runs it until Ctrl-C; ``python -m stack demo`` makes an image and a video with it. On several
machines, or under a service manager, start the commands of the Procfile directly instead.
"""
