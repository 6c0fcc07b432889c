"""AUTOMATIC1111's REST API.

- ``access``: authentication and the shape of errors
- ``bodies``, ``options``: the fields of requests, and the stored options of a client
- ``generation``, ``held``, ``responses``: ``txt2img`` and ``img2img``, across repeats after a lost connection
- ``progress``: progress of a client's requests, interrupt and skip
- ``extras``, ``lists``: operations without a job, and the lists of menus
"""
