"""The harnesses at release size: `python -m tests.long`, which writes tests/RESULTS.md."""
