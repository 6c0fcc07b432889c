"""The service protocol of LightX2V: what is sent (schemas, mapping), what is answered (states, views), files, routes.

Some paths belong to the native API as well (``shared``); the others are LightX2V's alone (``routes``).
"""
