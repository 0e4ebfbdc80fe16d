"""Spectra of pieces of a signal: the short-time Fourier transform and its inverse.

Source: D. Griffin, J. Lim, "Signal estimation from modified short-time Fourier transform", 1984: the inverse is the
signal whose transform is nearest by squares; names, defaults and shapes as in PyTorch.
"""

from __future__ import annotations

from . import fft
from .errors import OpError
from .op import OPS
from .public import FUNCTIONS
from .tensor import Tensor

__all__ = ["istft", "stft"]


def _window(name: str, like: Tensor, n_fft: int, length: int, window: Tensor | None) -> Tensor:
    """The window in the middle of n_fft places; ones where there is none."""
    if window is not None and tuple(window.shape) != (length,):
        raise OpError(f"{name}(): expected a 1D window tensor of size {length} (win_length), got {list(window.shape)}")
    whole = like.new_ones((length,)) if window is None else window
    left = (n_fft - length) // 2
    return OPS["constant_pad_nd"](whole, pad=(left, n_fft - length - left)) if length < n_fft else whole


def _lengths(name: str, n_fft: int, hop_length: int | None, win_length: int | None) -> tuple[int, int]:
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    if n_fft < 1 or hop < 1 or not 0 < length <= n_fft:
        raise OpError(f"{name}(): expected hop_length > 0 and 0 < win_length <= n_fft, got {hop}, {length} and {n_fft}")
    return hop, length


def stft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """X[k, m] = Σ_n window[n] x[m·hop_length + n] exp(-2πi kn / n_fft): of a signal (T) or (B, T), (B, K, frames).

    hop_length: n_fft // 4 unless given. window: (win_length), n_fft unless given; ones without one. center: frame m is
    about m·hop_length, the ends of the signal being filled by `pad_mode`. normalized: divided by √n_fft. onesided (the
    default for real signals): K is n_fft // 2 + 1, as the others repeat them. return_complex=False: real and imaginary
    parts in a last dimension of 2. align_to_window: without center, frame m begins where the window does, not where
    n_fft numbers do.
    """
    single = len(input.shape) == 1
    if len(input.shape) not in (1, 2):
        raise OpError(f"stft(): expected a 1D or 2D tensor, got shape {list(input.shape)}")
    hop, length = _lengths("stft", n_fft, hop_length, win_length)
    real = not input.is_complex() and not (window is not None and window.is_complex())
    if return_complex is None:
        if real:
            raise OpError("stft requires the return_complex parameter be given for real inputs")
        return_complex = True
    onesided = real if onesided is None else onesided
    if onesided and not real:
        raise OpError("Cannot have onesided output if window or input is complex")
    if center and align_to_window is not None:
        raise OpError("stft only supports align_to_window for center = False.")
    x = input[None] if single else input
    if center or align_to_window:
        around = n_fft // 2 if center else (n_fft - length) // 2
        if around:
            shaped = OPS["pad"](x[:, None], (around, around), mode=pad_mode if center else "constant")
            x = shaped[:, 0]
    if not 0 < n_fft <= x.shape[-1]:
        raise OpError(f"stft(): expected 0 < n_fft <= {x.shape[-1]}, but got n_fft={n_fft}")
    frames = x.unfold(-1, n_fft, hop) * _window("stft", x, n_fft, length, window)
    norm = "ortho" if normalized else None
    found = (fft.rfft if onesided else fft.fft)(frames, norm=norm).transpose(-2, -1)
    found = found[0] if single else found
    return found if return_complex else OPS["view_as_real"](found)


def istft(
    input: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """The inverse of `stft`, of (K, frames) or (B, K, frames): Σ_m window · frame m / Σ_m window², (T) or (B, T).

    length: of the signal, cut or filled with zeros. RuntimeError where Σ window² is 0 for a sample.
    """
    if not input.is_complex():
        raise OpError("istft requires a complex-valued input tensor matching the output from stft(return_complex=True)")
    if len(input.shape) not in (2, 3):
        raise OpError(f"istft(): expected a tensor with 2 or 3 dimensions, got shape {list(input.shape)}")
    hop, size = _lengths("istft", n_fft, hop_length, win_length)
    onesided = input.shape[-2] != n_fft if onesided is None else onesided
    wanted = n_fft // 2 + 1 if onesided else n_fft
    if input.shape[-2] != wanted:
        raise OpError(f"istft(): expected the frequency dimension to be {wanted}, but got {input.shape[-2]}")
    if onesided and return_complex:
        raise OpError("istft(): cannot have onesided input for a complex output")
    x = (input if len(input.shape) == 3 else input[None]).transpose(-2, -1)
    norm = "ortho" if normalized else None
    frames = fft.irfft(x, n=n_fft, norm=norm) if onesided else fft.ifft(x, norm=norm)
    if not onesided and not return_complex:
        frames = frames.real
    shape = _window("istft", frames, n_fft, size, window).to(frames.dtype)
    count = frames.shape[1]
    total = n_fft + hop * (count - 1)
    signal = _overlapped(frames * shape, hop, total)
    weight = _overlapped((shape * shape).expand(1, count, n_fft), hop, total)
    start = n_fft // 2 if center else 0
    end = start + length if length is not None else total - (n_fft // 2 if center else 0)
    signal, weight = signal[:, start : min(end, total)], weight[:, start : min(end, total)]
    if (weight.abs() < 1e-11).any():
        raise OpError("istft(): window overlap add min: 1, the sum of squared windows is 0 for some samples")
    signal = signal / weight
    if length is not None and signal.shape[1] < length:
        signal = OPS["constant_pad_nd"](signal, pad=(0, length - signal.shape[1]))
    return signal if len(input.shape) == 3 else signal[0]


def _overlapped(frames: Tensor, hop: int, total: int) -> Tensor:
    """Frames (B, M, n), each `hop` after the one before, added up: (B, total)."""
    _, count, n = frames.shape
    at = FUNCTIONS["arange"](count, device=frames.device)[:, None] * hop
    at = (at + FUNCTIONS["arange"](n, device=frames.device)).reshape(-1)
    return frames.new_zeros((len(frames), total)).index_add(1, at, frames.reshape(len(frames), -1))
