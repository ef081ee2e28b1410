"""Takes away from a child process what was taken away from the test that starts it."""

import os
import sys

if what := os.environ.get("PROOF_WITHOUT"):
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4)))
    from tests.house.proof import broken

    broken.apply(what)
