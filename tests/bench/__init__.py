"""cftool beside rclone and s5cmd on one S3 server: `python -m tests.bench`. Figures, never tests: no test is timed."""
