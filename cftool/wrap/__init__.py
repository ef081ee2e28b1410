"""The wrappers, one a module; only `stack.py` puts them together."""
