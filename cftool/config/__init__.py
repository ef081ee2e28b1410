"""Configuration: file, environment, secrets, and the one parser of "remote:path"."""
