"""Small things that training programs written for PyTorch do, each by itself."""

import numpy as np
import pytest

import chainrule


def test_numpy_of_a_parameter_outside_of_the_recording():
    w = chainrule.ones(3, requires_grad=True)
    with chainrule.no_grad():
        w.numpy()[0] = 5.0
        assert np.asarray(w).tolist() == [5, 1, 1]
        assert np.array(w, copy=True).tolist() == [5, 1, 1]
    with pytest.raises(RuntimeError, match="requires grad"):
        w.numpy()
    with pytest.raises(RuntimeError, match="requires grad"):
        np.array(w)
