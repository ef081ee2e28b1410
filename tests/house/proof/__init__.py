"""Does each row of the table in `shown` hold? Its test must fail once what it shows is taken away from the program.

`python -m tests.house.proof [WORD…]` runs, for each row whose name contains a WORD, its test in a process of its own:
with a flag whose value is forgotten, a command that does nothing, an event that is never written, or an exit code that
comes out as another. A row whose test passes nevertheless is named: that test shows something else.
"""
