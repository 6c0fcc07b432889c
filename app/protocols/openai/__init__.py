"""OpenAI's API for images and videos.

- ``access``: authentication and the shape of errors
- ``schemas``, ``lora_lists``, ``input_images``, ``mapping``: from the fields of a request to those of the native API
- ``images``, ``streams``, ``views``: ``/v1/images``, across repeats after a lost connection
- ``routes``, ``answers``: the routes and the schemas of their responses
"""
