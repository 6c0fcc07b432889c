"""The OpenAPI document: what all operations have in common, and the document itself.

``blueprint`` describes the operations of a protocol, ``answers`` has what schemas of response bodies are made of, and
``document`` serves the document.
"""
