"""The zones around arrays show what a kernel does to them."""

import os
import subprocess
import sys
import textwrap

import pytest

from chainrule.backends import compiled

pytestmark = pytest.mark.skipif(
    not compiled.available(), reason='numba is not installed; pip install "chainrule[fast]" brings it'
)


def test_a_write_past_the_end_is_seen(tmp_path):
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""
        import numpy as np
        import pytest
        import redzones
        from chainrule.backends.compiled.build import kernel

        redzones.install()

        @kernel("f4[:] i8 i8")
        def fill(x, start, stop):
            for i in range(start, stop):
                x[i] = i

        def test_inside():
            x = np.empty(5, np.float32)
            fill(x, 0, 5)
            assert x.tolist() == [0, 1, 2, 3, 4]
            assert np.zeros((2, 3)).tolist() == [[0.0] * 3] * 2

        CASES = [(0, 6, "0 bytes before and 4 behind"), (-7, -6, "4 bytes before and 0 behind")]

        @pytest.mark.parametrize(("start", "stop", "where"), CASES)
        def test_outside(start, stop, where):  # a negative index counts from the end
            with pytest.raises(AssertionError, match=f"wrote {where} an array of 20"):
                fill(np.empty(5, np.float32), start, stop)
        """)
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    ran = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "3 passed" in ran.stdout, ran.stdout + ran.stderr
