"""The command line: one small module a command; options, output and exit codes in one place each."""
