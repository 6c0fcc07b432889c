"""AUTOMATIC1111's REST API: who may call and how errors look (``access``), what is asked (``bodies``, ``options``),
calls that wait for their images (``generating``, ``holding``, ``answers``), what runs (``progress``), and all that is
only looked at or changed in place (``lists``, ``extras``).
"""
