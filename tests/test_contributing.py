"""CONTRIBUTING.md's recipe for an op works as it is printed, to the third order."""

import subprocess
import sys

from test_docs import python_blocks

# In a process of its own: the registry of ops is the process's, and the op table must not find this one in it.
CHECK = """
import numpy as np
import chainrule

x = chainrule.tensor([-2.0, -0.5, 0.0, 0.5, 3.0], dtype=chainrule.float64, requires_grad=True)
t = np.tanh(x.detach().numpy())
value = log_cosh(x)
expected = [np.log(np.cosh(x.detach().numpy())), t, 1 - t**2, -2 * t * (1 - t**2)]
for order, right in enumerate(expected):
    np.testing.assert_allclose(value.detach().numpy(), right, atol=1e-12, err_msg=f"order {order}")
    (value,) = chainrule.autograd.grad(value.sum(), x, create_graph=True)

raw = chainrule.tensor([0.5], requires_grad=True)
log_cosh(raw).sum().backward()
assert raw.grad.dtype == chainrule.float32
np.testing.assert_allclose(raw.grad.numpy(), np.tanh([0.5]), rtol=1e-6)
"""


def test_recipe_for_an_op(tmp_path):
    code = python_blocks("CONTRIBUTING.md") + CHECK
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_recipe_is_short():
    lines = [line for line in python_blocks("CONTRIBUTING.md").splitlines() if line.strip()]
    assert len(lines) <= 15
