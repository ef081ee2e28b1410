"""One engine behind cp, mv, sync and check: compare, plan, gate, execute, record. Yields events, prints nothing."""
