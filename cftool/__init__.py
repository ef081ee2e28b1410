"""cftool: cloud storage from the command line, over one store stack.

Nothing is imported here: the start-up of `cftool` is a feature.
"""

__version__ = "0.1.0"
