"""Hugging Face's inference calls (``/hf/{model}``), as huggingface_hub and @huggingface/inference send them.

A client whose model is a URL posts one body there and receives the bytes of a picture or a video.
"""
