"""The fake CuPy's; see cupy.py."""

import cupy  # noqa: F401  puts the fake cupyx in the place of this module
