"""Windows: counts, places and views against what a loop over an axis finds, and against the simulator's own kernels."""

import itertools

import numpy as np
import pytest

from qcompile.ir.window import Window, plane
from qcompile.sim import kernels


@pytest.mark.parametrize(
    ("n", "kernel", "stride", "dilation"),
    [c for c in itertools.product((1, 5, 8), (1, 2, 3), (1, 2, 4), (1, 3)) if c[3] * (c[1] - 1) < c[0]],
)
def test_windows_of_an_axis(n: int, kernel: int, stride: int, dilation: int) -> None:
    starts = [i for i in range(0, n, stride) if i + dilation * (kernel - 1) < n]
    seen = [[i + dilation * j for j in range(kernel)] for i in starts]
    window = Window((kernel,), (stride,), (dilation,))
    counts = window.fitting((n,))
    assert counts == (len(starts),)
    assert window.places(counts)[0].tolist() == seen
    assert window.reached(counts) == (seen[-1][-1] + 1,) and window.extent == (seen[0][-1] + 1,)
    assert np.arange(n)[window.first()].tolist() == seen[0]
    assert window.moves == (seen != [[i] for i in range(n)]) or n == 1
    x = np.arange(n).reshape(1, 1, n)
    assert window.view(x)[0, 0].tolist() == seen
    assert np.stack(list(kernels.taps(x, (kernel,), (stride,), (dilation,))), -1)[0, 0].tolist() == seen


def test_windows_of_a_plane() -> None:
    window = Window((2, 3), (1, 2), (2, 1))
    x = np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7)
    taps = np.stack(list(kernels.taps(x, *(window.kernel, window.strides, window.dilations))), -1)
    assert np.array_equal(window.view(x).reshape(taps.shape), taps)
    assert window.size == 6 and window.numbers == (2, 3, 1, 2, 2, 1)
    assert Window((3,), (2,), (1,)).plane() == Window((1, 3), (1, 2), (1, 1)) and plane((4, 5)) == (4, 5)


def test_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a window of \[4\] does not fit into \[3\]"):
        Window((4,), (1,), (1,)).fitting((3,))
    with pytest.raises(ValueError, match="must be 1 or more"):
        Window((1,), (0,), (1,)).fitting((3,))
