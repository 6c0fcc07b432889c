"""The routes of workers that pull jobs over HTTP."""
