"""Attention and the Transformer: masks, options, warnings and errors, and PyTorch with the same weights beside them."""

import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn import functional as F
from chainrule.testing.samples import floats

L, S, N, E, H = 3, 4, 2, 4, 2
Q, K, V = floats((L, N, E)), floats((S, N, E), seed=1), floats((S, N, E), seed=2)
HIDDEN = np.array([[False, True, False, False], [False, False, True, True], [True, False, False, False]])
PADDED = np.array([[False, False, False, True], [False, False, True, True]])
CAUSAL = np.triu(np.full((L, L), -np.inf), 1)


def twins(torch, name, *args, **kwargs):
    """A layer here and in PyTorch with the same weights, both in float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = getattr(torch.nn, name)(*args, **kwargs).double()
        ours = getattr(nn, name)(*args, **kwargs).double()
    # weights that the initialisation leaves zero or equal would hide a mistake
    with torch.no_grad():
        for i, p in enumerate(theirs.parameters()):
            p.copy_(torch.tensor(floats(tuple(p.shape), seed=i)))
    ours.load_state_dict({k: cr.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    return ours, theirs


def agree(torch, ours, theirs, inputs, **masks):
    """Outputs and all gradients."""
    xs = [cr.tensor(x, requires_grad=True) for x in inputs]
    ys = [torch.tensor(x, requires_grad=True) for x in inputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = ours(*xs, **{k: cr.tensor(v) if isinstance(v, np.ndarray) else v for k, v in masks.items()})
        expected = theirs(*ys, **{k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in masks.items()})
    got, expected = (x if isinstance(x, tuple) else (x,) for x in (got, expected))
    for a, b in zip(got, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12)
    sum((a * a).sum() for a in got if a is not None).backward()
    sum((b * b).sum() for b in expected if b is not None).backward()
    pairs = [*zip(xs, ys, strict=True), *zip(ours.parameters(), theirs.parameters(), strict=True)]
    for x, y in pairs:
        assert (x.grad is None) == (y.grad is None)
        if x.grad is not None:
            np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-8, atol=1e-11)


# -- MultiheadAttention -----------------------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"bias": False}], ids=str)
@pytest.mark.parametrize(
    "masks",
    [
        {"key_padding_mask": PADDED},
        {"attn_mask": HIDDEN},
        {"attn_mask": floats((L, S))},
        {"attn_mask": floats((N * H, L, S)), "average_attn_weights": False},
        {"attn_mask": HIDDEN, "key_padding_mask": np.where(PADDED, -1.0, 0.5), "need_weights": False},
        {"attn_mask": np.stack([HIDDEN, ~HIDDEN] * 2), "need_weights": False},
    ],
    ids=[0, 1, 2, 3, 4, 5],
)
def test_masks_like_torch(torch, masks, options):
    agree(torch, *twins(torch, "MultiheadAttention", E, H, **options), (Q, K, V), **masks)


@pytest.mark.torch
def test_forms_like_torch(torch):
    pair = twins(torch, "MultiheadAttention", E, H, batch_first=True)
    swapped = [np.swapaxes(x, 0, 1) for x in (Q, K, V)]
    agree(torch, *pair, swapped, key_padding_mask=PADDED, attn_mask=HIDDEN)
    agree(torch, *pair, [x[:, 0] for x in (Q, K, V)], key_padding_mask=PADDED[0])
    agree(torch, *pair, [x[:, 0] for x in (Q, K, V)], attn_mask=np.stack([HIDDEN] * H), average_attn_weights=False)
    agree(torch, *twins(torch, "MultiheadAttention", E, H, kdim=E, vdim=2), (Q, K, V[..., :2]), attn_mask=HIDDEN)
    pair = twins(torch, "MultiheadAttention", E, H)
    one, two = cr.tensor(Q), torch.tensor(Q)
    for causal in (True, False):  # one tensor for all three: one product
        got = pair[0](one, one, one, attn_mask=cr.tensor(CAUSAL), is_causal=causal, need_weights=not causal)[0]
        expected = pair[1](two, two, two, attn_mask=torch.tensor(CAUSAL), is_causal=causal, need_weights=not causal)[0]
        np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-9)
    x = torch.tensor(K)
    got, expected = pair[0](one, cr.tensor(K), cr.tensor(K))[1], pair[1](two, x, x)[1]
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=1e-9)


def test_attention_with_and_without_weights_is_the_same():
    layer = nn.MultiheadAttention(E, H).double()
    q, k, v = map(cr.tensor, (Q, K, V))
    mask = cr.tensor(HIDDEN)
    with_weights, weights = layer(q, k, v, attn_mask=mask)
    without, nothing = layer(q, k, v, attn_mask=mask, need_weights=False)
    assert nothing is None
    np.testing.assert_allclose(with_weights.detach().numpy(), without.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(weights.sum(-1).detach().numpy(), 1.0)
    assert not weights.detach().numpy()[:, HIDDEN].any()


def test_initial_values():
    cr.manual_seed(0)
    layer = nn.MultiheadAttention(64, 4, add_bias_kv=True)
    bound = (6 / (64 + 3 * 64)) ** 0.5
    top = layer.in_proj_weight.abs().max().item()
    assert 0.99 * bound < top <= bound
    assert not layer.in_proj_bias.any()
    assert not layer.out_proj.bias.any()
    assert abs(layer.bias_k.std().item() - (2 / (64 + 64)) ** 0.5) < 0.03
    assert list(nn.MultiheadAttention(4, 2, kdim=3).state_dict()) == [
        *("q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    ]


def test_dropout_of_the_weights():
    cr.manual_seed(0)
    layer = nn.MultiheadAttention(E, H, dropout=0.5)
    x = cr.tensor(Q.astype("float32"))
    assert (layer(x, x, x)[1] == 0).any() or (layer(x, x, x, average_attn_weights=False)[1] == 0).any()
    assert (layer.eval()(x, x, x, average_attn_weights=False)[1] > 0).all()


def test_attention_errors():
    layer = nn.MultiheadAttention(E, H).double()
    q, k, v = map(cr.tensor, (Q, K, V))
    with pytest.raises(AssertionError, match="divisible by num_heads"):
        nn.MultiheadAttention(5, 2)
    with pytest.raises(ValueError, match="must be greater than 0"):
        nn.MultiheadAttention(0, 1)
    with pytest.raises(RuntimeError, match="Need attn_mask if specifying the is_causal hint"):
        layer(q, k, v, is_causal=True)
    with pytest.raises(RuntimeError, match=r"shape of the 2D attn_mask is \(4, 3\), but should be \(3, 4\)"):
        layer(q, k, v, attn_mask=cr.tensor(HIDDEN.T.copy()))
    with pytest.raises(RuntimeError, match="3D attn_mask"):
        layer(q, k, v, attn_mask=cr.tensor(HIDDEN[None]))
    with pytest.raises(AssertionError, match="only bool and floating types of attn_mask are supported"):
        layer(q, k, v, attn_mask=cr.tensor(HIDDEN.astype("int64")))
    with pytest.raises(AssertionError, match="`key` and `value` to be 3-D"):
        layer(q, k[:, 0], v[:, 0])
    with pytest.raises(AssertionError, match="expected `key_padding_mask` to be `None` or 2-D"):
        layer(q, k, v, key_padding_mask=cr.tensor(PADDED[0]))
    with pytest.raises(AssertionError, match="embedding dimension of 4, but got 3"):
        layer(q[..., :3], k, v)
    with pytest.raises(AssertionError, match="does not match value shape"):
        layer(q, k, v[:2])
    with pytest.raises(AssertionError, match="key_padding_mask"):
        layer(q, k, v, key_padding_mask=cr.tensor(PADDED[:, :3]))
    with pytest.raises(AssertionError, match="2D or batched 3D"):
        layer(q[0, 0], k, v)


def test_masks_of_two_dtypes_warn():
    layer = nn.MultiheadAttention(E, H).double()
    with pytest.warns(UserWarning, match="Support for mismatched key_padding_mask and attn_mask is deprecated") as seen:
        layer(*map(cr.tensor, (Q, K, V)), key_padding_mask=cr.tensor(PADDED), attn_mask=cr.tensor(floats((L, S))))
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_fixed_keys_and_values():
    weight, bias = cr.tensor(floats((3 * E, E))), cr.tensor(floats(3 * E))
    q, k, v = map(cr.tensor, (Q, K, V))
    args = (E, H, weight, bias, None, None, False, 0.0, cr.eye(E, dtype=cr.float64), None)

    def heads(x, part):
        y = F.linear(x, weight[part * E : (part + 1) * E], bias[part * E : (part + 1) * E])
        return y.reshape(S, N * H, E // H).transpose(0, 1)

    expected = F.multi_head_attention_forward(q, k, v, *args)
    found = F.multi_head_attention_forward(q, k, v, *args, static_k=heads(k, 1), static_v=heads(v, 2))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)
    with pytest.raises(AssertionError, match=r"static_k\.size\(0\) of 4, but got 2"):
        F.multi_head_attention_forward(q, k, v, *args, static_k=heads(k, 1)[:2])


# -- Transformer ------------------------------------------------------------------------------------------------------


@pytest.mark.torch
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_transformer_like_torch(torch, norm_first, batch_first):
    options = {"norm_first": norm_first, "batch_first": batch_first, "activation": "gelu"}
    ours, theirs = twins(torch, "Transformer", E, H, 2, 2, 5, 0.0, **options)
    assert [k for k, _ in ours.named_parameters()] == [k for k, _ in theirs.named_parameters()]
    assert repr(ours) == repr(theirs)
    src, tgt = (np.swapaxes(x, 0, 1) if batch_first else x for x in (K, Q))
    for masks in (
        {"tgt_mask": CAUSAL},
        {"tgt_mask": CAUSAL, "tgt_is_causal": True, "src_key_padding_mask": PADDED},
        {"src_mask": floats((S, S)), "memory_mask": HIDDEN, "memory_key_padding_mask": PADDED},
        {"tgt_mask": CAUSAL < 0, "tgt_key_padding_mask": PADDED[:, 1:] & PADDED[:1, 1:]},
    ):
        ours.zero_grad()
        theirs.zero_grad()
        agree(torch, ours, theirs, (src, tgt), **masks)


@pytest.mark.torch
@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_stacks_like_torch(torch, activation):
    def stack(lib):
        act = activation if activation == "gelu" else lib.functional.silu
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            layer = lib.TransformerEncoderLayer(E, H, 5, 0.0, act, batch_first=True)
            return lib.TransformerEncoder(layer, 2, lib.LayerNorm(E)).double()

    ours, theirs = stack(nn), stack(torch.nn)
    ours.load_state_dict({k: cr.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    x = np.swapaxes(K, 0, 1)
    agree(torch, ours, theirs, (x,), src_key_padding_mask=PADDED)
    agree(torch, ours, theirs, (x,), mask=np.triu(np.full((S, S), -np.inf), 1))
    ours.eval()
    theirs.eval()
    with torch.no_grad(), cr.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for padded in (PADDED, PADDED[:, ::-1].copy()):  # the second is not at the end, so nothing is left out
            got = ours(cr.tensor(x), src_key_padding_mask=cr.tensor(padded))
            expected = theirs(torch.tensor(x), src_key_padding_mask=torch.tensor(padded))
            np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-8, atol=1e-12)


@pytest.mark.torch
@pytest.mark.parametrize(
    "options",
    [{}, {"batch_first": True, "norm_first": True}, {"batch_first": True, "bias": False}, {"batch_first": True}],
    ids=str,
)
@pytest.mark.parametrize("heads", [1, 2])
def test_nested_tensor_warnings_are_torchs(torch, options, heads):
    def messages(lib):
        layer = lib.TransformerEncoderLayer(E, heads, 5, **options)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            lib.TransformerEncoder(layer, 1)
        return [str(w.message) for w in seen]

    assert messages(nn) == messages(torch.nn)


def test_layers_of_a_stack_start_equal_and_are_not_shared():
    layer = nn.TransformerDecoderLayer(E, H, 5)
    stack = nn.TransformerDecoder(layer, 2, nn.LayerNorm(E))
    one, two = (m.linear1.weight for m in stack.layers)
    assert one is not two
    assert one is not layer.linear1.weight
    np.testing.assert_array_equal(one.detach().numpy(), two.detach().numpy())
    assert len(list(stack.parameters())) == 2 * len(list(layer.parameters())) + 2


def test_what_comes_later_does_not_change_what_was_before():
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(E, H, 5, 0.0), 2).double()
    x, memory = cr.tensor(Q, requires_grad=True), cr.tensor(K)
    for mask in (CAUSAL, CAUSAL < 0):
        out = decoder(x, memory, tgt_mask=cr.tensor(mask))
        (g,) = cr.autograd.grad(out[1].sum(), [x])
        assert g[:2].any()
        assert not g[2].any()


def test_square_subsequent_mask():
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    np.testing.assert_array_equal(mask.numpy(), CAUSAL)
    assert mask.dtype == cr.float32
    assert nn.Transformer.generate_square_subsequent_mask(2, dtype=cr.float64).dtype == cr.float64


def test_transformer_of_ones_own_parts():
    class Plus(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.n = n

        def forward(self, x, *rest, **masks):
            return x + self.n

    model = nn.Transformer(E, H, custom_encoder=Plus(1), custom_decoder=Plus(2))
    x = cr.zeros(3, 2, E)
    assert (model(x, x) == 2).all()
    with pytest.raises(RuntimeError, match="batch number of src and tgt must be equal"):
        model(x, x[:, :1])
    with pytest.raises(RuntimeError, match="feature number of src and tgt must be equal to d_model"):
        model(x, x[..., :2])
    with pytest.raises(RuntimeError, match="activation should be relu/gelu, not tanh"):
        nn.TransformerEncoderLayer(E, H, activation="tanh")


def test_attention_namespace():
    from chainrule.nn.attention import SDPBackend, sdpa_kernel

    q = cr.tensor(Q)
    expected = F.scaled_dot_product_attention(q, q, q)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH], set_priority=True):
        assert (F.scaled_dot_product_attention(q, q, q) == expected).all()
    with pytest.raises(AssertionError, match="instance of SDPBackend"), sdpa_kernel("math"):
        pass
