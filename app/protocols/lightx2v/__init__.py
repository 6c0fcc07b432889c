"""LightX2V's service protocol: ``/v1/tasks/…``, ``/v1/files/…``, ``/v1/service/…``, ``/v1/local/…``.

``create``, ``tasks``, ``service`` and ``first_version`` have the routes. Requests go through ``schemas`` and
``mapping`` to ``submit``; ``states`` and ``views`` translate jobs for the responses.
"""
