"""The console: a page at ``/`` that makes, follows and manages jobs over the native API.

Its files are plain ES modules that a browser runs as they are (``static/``).
"""
