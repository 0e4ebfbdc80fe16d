"""explain.activations, codes, classes: outputs by hand, attention and boundaries by formula, PCA by the SVD."""

import math
import threading

import numpy as np
import pytest
from digits_network import data, trained

import chainrule as cr
from chainrule import explain, models, nn
from chainrule.nn import functional as F
from chainrule.testing import assert_close
from chainrule.utils.data import DataLoader, TensorDataset


@pytest.fixture(autouse=True)
def seeded():
    cr.manual_seed(0)


def state_of(model):
    return [(m.training, vars(m).get("_cr_hooks"), *(p.requires_grad for p in m.parameters())) for m in model.modules()]


# -- activations ------------------------------------------------------------------------------------------------------


def test_activations_are_the_outputs_in_the_order_of_calls():
    model, x = trained(), data()[1][0][:3]
    found = explain.activations(model, x)
    steps = ("conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "flatten", "fc1", "relu3", "fc2")
    assert list(found) == list(steps)
    for name in steps:
        x = getattr(model, name)(x)
        assert_close(found[name], x.detach())
        assert not found[name].requires_grad


class Odd(nn.Module):
    """Calls in another order than its attributes have, one twice, outputs of all kinds, work in place."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 2)
        self.relu = nn.ReLU(inplace=True)
        self.parts = Parts()
        self.unused = nn.Linear(4, 4)
        self.first = nn.Linear(3, 4)

    def forward(self, x, *, scale=1):
        h = self.relu(self.first(x) * scale)
        a = self.parts(h)["double"]
        return self.last(self.relu(a - 3))


class Parts(nn.Module):
    def forward(self, x):
        return {"double": 2 * x, "both": (x, [x + 1]), "none": None}


def test_activations_of_calls_and_parts():
    model, x = Odd(), cr.randn(5, 3)
    found = explain.activations(model, {"x": x, "scale": 2})
    names = ["first", "relu", "parts[double]", "parts[both][0]", "parts[both][1][0]", "relu#2", "last"]
    assert list(found) == names
    first = model.first(x).detach()
    h = (2 * first).clamp(min=0)
    for name, want in zip(
        names, (first, h, 2 * h, h, h + 1, (2 * h - 3).clamp(min=0), model.last((2 * h - 3).clamp(min=0)).detach())
    ):
        assert_close(found[name], want)


def test_activations_are_kept_from_changes_in_place():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))
    x = cr.randn(6, 3)
    found = explain.activations(model, x)
    assert (found["0"] < 0).any()
    assert_close(found["0"], model[0](x).detach())


def test_activations_of_named_layers():
    model = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 2))
    x = cr.randn(2, 3)
    found = explain.activations(model, x, ["0", model[1], model])
    assert list(found) == ["0", "1", "Sequential"]
    assert_close(found["0"], model[0](x).detach())
    assert (found["1"] == found["Sequential"]).all()
    assert list(explain.activations(model, x, "0.1")) == ["0.1"]
    assert list(explain.activations(model[1], cr.ones(1, 4))) == ["Linear"]


def test_activations_of_a_module_that_calls_none_of_its_parts():
    model = nn.MultiheadAttention(4, 2)  # its out_proj is used, and not called
    x = cr.randn(3, 1, 4)
    found = explain.activations(model, (x, x, x))
    assert list(found) == ["MultiheadAttention[0]", "MultiheadAttention[1]"]
    assert_close(found["MultiheadAttention[0]"], model(x, x, x)[0].detach())


def test_activations_leave_the_model_as_it_was():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3)).train()
    before, statistics = state_of(model), model[2].running_mean.clone()
    found = explain.activations(model, cr.randn(4, 3))
    assert (found["0"] == found["1"]).all()  # evaluation mode
    with pytest.raises(RuntimeError):
        explain.activations(model, cr.randn(4, 5))
    assert state_of(model) == before
    assert (model[2].running_mean == statistics).all()


def test_activations_when_the_model_catches_an_exception():
    class Fallback(nn.Module):
        def __init__(self):
            super().__init__()
            self.hard, self.easy = nn.Sequential(nn.Linear(9, 9)), nn.Sequential(nn.Linear(3, 2))

        def forward(self, x):
            try:
                return self.hard(x)
            except RuntimeError:
                return self.easy(x)

    model, x = Fallback(), cr.randn(2, 3)
    found = explain.activations(model, x)
    assert list(found) == ["easy.0"]
    assert_close(found["easy.0"], model.easy(x).detach())


def test_activations_errors():
    model = Odd()
    with pytest.raises(ValueError, match="has no layer 'nothing'; it has last, relu"):
        explain.activations(model, cr.ones(1, 3), "nothing")
    with pytest.raises(ValueError, match="Odd does not call unused for these inputs"):
        explain.activations(model, cr.ones(1, 3), ["first", "unused"])


# -- kernels ----------------------------------------------------------------------------------------------------------


def test_kernels_are_the_first_convolution():
    model = trained()
    found = explain.kernels(model)
    assert (found == model.conv1.weight).all()
    assert not found.requires_grad
    found.zero_()
    assert (model.conv1.weight != 0).any()
    assert (explain.kernels(model, "conv2") == model.conv2.weight).all()
    assert (explain.kernels(model.conv2) == model.conv2.weight).all()


def test_kernels_normalised_around_a_half():
    layer = nn.Conv2d(1, 3, 2, bias=False)
    with cr.no_grad():
        layer.weight.copy_(cr.tensor([[[[1.0, -2], [0, 0.5]]], [[[4.0, 0], [0, 0]]], [[[0.0, 0], [0, 0]]]]))
    each = explain.kernels(layer, normalize="each")
    assert each.tolist() == [[[[0.75, 0], [0.5, 0.625]]], [[[1, 0.5], [0.5, 0.5]]], [[[0.5, 0.5], [0.5, 0.5]]]]
    together = explain.kernels(layer, normalize="all")
    assert together[0].tolist() == [[[0.625, 0.25], [0.5, 0.5625]]]
    with pytest.raises(ValueError, match="'each', 'all' or None"):
        explain.kernels(layer, normalize="some")


def test_kernels_of_other_layers():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    assert explain.kernels(linear, "1", shape=(1, 3, 4)).shape == (5, 1, 3, 4)
    assert explain.kernels(nn.ConvTranspose2d(2, 7, 3)).shape == (7, 2, 3, 3)
    normed = nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 2, 3))
    before = [b.clone() for b in normed.buffers()]
    assert explain.kernels(normed).shape == (2, 1, 3, 3)
    assert all((a == b).all() for a, b in zip(before, normed.buffers()))
    with pytest.raises(ValueError, match="no convolution: name a layer"):
        explain.kernels(linear)
    with pytest.raises(ValueError, match="layer '0' has no matrix of weights"):
        explain.kernels(linear, "0")


def test_gallery_lays_maps_side_by_side():
    maps = cr.tensor([[[1.0, -1]], [[0.5, 0]], [[0, 0]]])  # three of 1 x 2
    found = explain.gallery(maps, columns=2)
    assert found.shape == (3, 5, 7)
    want = [[1, 1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0.75, 0.5, 1], [1] * 7, [1, 0.5, 0.5, 1, 1, 1, 1], [1] * 7]
    assert found[0].tolist() == want
    assert (found == found[:1]).all()
    each = explain.gallery(maps, columns=2, normalize="each")
    assert each[0, 1].tolist() == [1, 1, 0, 1, 1, 0.5, 1]
    assert explain.gallery(cr.ones(2, 3, 4, 4), normalize=None).shape == (3, 6, 11)
    with pytest.raises(ValueError, match=r"not \(2, 5, 3, 3\)"):
        explain.gallery(cr.ones(2, 5, 3, 3))


# -- attention --------------------------------------------------------------------------------------------------------


def by_hand(module, query, key, allowed):
    """softmax(q kᵀ / √d) of a MultiheadAttention, in NumPy: query (N, T, E), key (N, S, E) -> (N, heads, T, S)."""
    wq, wk, _ = np.split(module.in_proj_weight.detach().cpu().numpy(), 3)
    bq, bk, _ = np.split(module.in_proj_bias.detach().cpu().numpy(), 3)
    query, key = query.detach().cpu().numpy(), key.detach().cpu().numpy()

    def heads(x, w, b):
        return (x @ w.T + b).reshape(*x.shape[:2], module.num_heads, -1).transpose(0, 2, 1, 3)

    q, k = heads(query, wq, bq), heads(key, wk, bk)
    scores = np.where(allowed, q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[-1]), -np.inf)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Attends(nn.Module):
    """nn.MultiheadAttention with the masks that it is given."""

    def __init__(self, **options):
        super().__init__()
        self.inner = nn.MultiheadAttention(6, 2, batch_first=True)
        nn.init.normal_(self.inner.in_proj_bias)
        self.options = options

    def forward(self, query, key):
        return self.inner(query, key, key, **self.options)


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_maps_are_the_softmax_with_masks(need_weights):
    query, key = cr.randn(3, 4, 6), cr.randn(3, 4, 6)
    causal = cr.ones(4, 4).triu(1).bool()
    padding = cr.tensor([[False] * 4, [False, False, True, True], [False, True, False, False]])
    allowed = ~causal.cpu().numpy() & ~padding.cpu().numpy()[:, None, None]
    model = Attends(need_weights=need_weights, attn_mask=causal, key_padding_mask=padding)
    found = explain.attention_maps(model, (query, key))
    assert list(found) == ["inner"]
    want = by_hand(model.inner, query, key, allowed)
    assert_close(found["inner"], cr.tensor(want))
    assert_close(found["inner"].sum(-1), cr.ones(3, 2, 4))


def test_attention_maps_where_a_query_may_look_at_nothing():
    model = Attends(need_weights=False, attn_mask=cr.tensor([[True, True], [False, True]]))
    found = explain.attention_maps(model, (cr.randn(1, 2, 6), cr.randn(1, 2, 6)))["inner"]
    assert found[0, 0].tolist() == [[0, 0], [1, 0]]


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_maps_leave_result_and_setting_alone(need_weights):
    model = Attends(need_weights=need_weights, average_attn_weights=True).train()
    query, key = cr.randn(3, 4, 6), cr.randn(3, 5, 6)
    outputs, before = [], state_of(model)
    want, weights = model.eval()(query, key)
    model.train()
    handle = model.register_forward_hook(lambda module, args, out: outputs.append(out))
    found = explain.attention_maps(model, (query, key))["inner"]
    handle.remove()
    (out, seen), *more = outputs
    assert not more
    assert (out == want).all()
    if need_weights:
        assert (seen == weights).all()
        assert_close(found.mean(1), weights.detach())
    else:
        assert seen is None
    assert state_of(model)[1:] == before[1:]
    assert model.training


def test_attention_maps_of_gpt_and_its_output():
    gpt = models.GPT(models.GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=8))
    tokens = cr.randint(0, 11, (3, 5))
    with cr.no_grad():
        want = gpt.eval()(tokens)[0]
    outputs = []
    with explain.looking(gpt) as at:
        at.hook(gpt, lambda module, args, out: outputs.append(out[0]))
        found = explain.attention_maps(gpt, tokens)
    assert (outputs[0] == want).all()
    assert list(found) == ["transformer.h.0.attn", "transformer.h.1.attn"]
    block = gpt.transformer.h[0]
    x = gpt.transformer.wte(tokens) + gpt.transformer.wpe(cr.arange(5))
    q, k, _ = block.attn.c_attn(block.ln_1(x)).detach().cpu().numpy().reshape(3, 5, 3, 2, 4).transpose(2, 0, 3, 1, 4)
    e = np.exp(q @ k.swapaxes(-1, -2) / 2) * np.tri(5, dtype=np.float32)
    assert_close(found["transformer.h.0.attn"], cr.tensor(e / e.sum(-1, keepdims=True)))


def test_attention_maps_of_a_transformer():
    model = models.TranslationTransformer(9, 8, 2, 2, 16)
    source, target = cr.tensor([[3, 4, 5, 0], [1, 2, 0, 0]]), cr.tensor([[1, 2, 3], [1, 5, 6]])
    found = explain.attention_maps(model, (source, target))
    assert list(found) == [
        "encoder.layers.0.self_attn",
        "encoder.layers.1.self_attn",
        "decoder.layers.0.self_attn",
        "decoder.layers.0.multihead_attn",
        "decoder.layers.1.self_attn",
        "decoder.layers.1.multihead_attn",
    ]
    for name, maps in found.items():
        assert_close(maps.sum(-1), cr.ones(2, 2, maps.shape[2]))
        if name.endswith("self_attn") and name.startswith("decoder"):
            assert (maps.triu(1) == 0).all()
        else:
            assert (maps[1, :, :, 2:] == 0).all()  # padding
    x = model.positions.eval()(model.words(source) * model.scale)
    allowed = (source != 0).cpu().numpy()[:, None, None]
    assert_close(
        found["encoder.layers.0.self_attn"], cr.tensor(by_hand(model.encoder.layers[0].self_attn, x, x, allowed))
    )
    only = explain.attention_maps(model, (source, target), ["encoder", "decoder.layers.1.self_attn"])
    assert list(only) == ["encoder.layers.0.self_attn", "encoder.layers.1.self_attn", "decoder.layers.1.self_attn"]
    assert (only["encoder.layers.1.self_attn"] == found["encoder.layers.1.self_attn"]).all()


def test_attention_maps_of_a_softmax_in_a_named_layer():
    model = models.Seq2Seq(9, 7, 4, 6)
    source, target, lengths = cr.randint(0, 9, (2, 5)), cr.randint(0, 7, (2, 4)), cr.tensor([5, 3])
    found = explain.attention_maps(model, (source, target, lengths), "attention")
    assert list(found) == ["attention"]
    assert_close(found["attention"][:, 0], model(source, target, lengths)[1].detach())  # (N, T, S) of T calls
    with pytest.raises(ValueError, match="no attention is seen in Seq2Seq; name by layers="):
        explain.attention_maps(model, (source, target, lengths))
    with pytest.raises(ValueError, match="no attention is seen in encoder"):
        explain.attention_maps(model, (source, target, lengths), ["attention", "encoder"])


def test_attention_maps_over_an_image():
    model, images, words = models.Captioner(7).eval(), cr.rand(2, 1, 16, 16), cr.randint(1, 7, (2, 5))
    found = explain.attention_maps(model, (images, words), model)  # its softmax stands in the model's own forward
    assert list(found) == ["Captioner"]
    assert_close(found["Captioner"][:, 0], model(images, words).weights.detach())


class Plain(nn.Module):
    """Attention on its own, without heads, of a weight shared by two calls; its own softmax is along another dim."""

    def __init__(self):
        super().__init__()
        self.step = Step()

    def forward(self, x):
        return self.step(self.step(x))


class Step(nn.Module):
    def forward(self, x):
        x.softmax(1)
        return F.scaled_dot_product_attention(x, x, x, scale=2.0)


def test_attention_maps_without_heads_and_of_several_calls():
    x = cr.randn(2, 3, 4)
    model = Plain()
    found = explain.attention_maps(model, x)
    assert list(found) == ["step", "step#2"]
    assert_close(found["step"], (2 * x @ x.mT).softmax(-1)[:, None])
    y = model.step(x)
    assert_close(found["step#2"], (2 * y @ y.mT).softmax(-1)[:, None])
    assert explain.attention_maps(model, x[0])["step"].shape == (1, 1, 3, 3)
    named = explain.attention_maps(model, x, model.step)
    assert list(named) == ["step", "step#2", "step#3", "step#4"]
    assert_close(named["step"], x.softmax(1).mT[:, None])


def test_attention_maps_of_grouped_heads_and_float_masks():
    class Grouped(nn.Module):
        def forward(self, q, k, mask):
            return F.scaled_dot_product_attention(q, k, k, mask, enable_gqa=True)

    q, k, mask = cr.randn(2, 4, 3, 5), cr.randn(2, 2, 6, 5), cr.randn(3, 6)
    found = explain.attention_maps(Grouped(), (q, k, mask))["Grouped"]
    wide = k.repeat_interleave(2, 1)
    assert_close(found, (q @ wide.mT / math.sqrt(5) + mask).softmax(-1))


def test_attention_maps_do_not_unfuse_layers_beside_attention():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    hung = []

    class Seeing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            hung.extend(m for m in layer.modules() if vars(m).get("_cr_hooks") is not None)
            return self.layer(x)

    explain.attention_maps(Seeing(), cr.randn(1, 3, 8))
    assert set(hung) == {layer, layer.self_attn}


def test_attention_maps_in_threads():
    gpt = models.GPT(models.GPTConfig(vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=8))
    tokens = [cr.randint(0, 11, (1, n)) for n in (3, 5, 7)]
    want = [explain.attention_maps(gpt, t) for t in tokens]
    device, found = cr.ones(1).device, {}

    def work(i):
        with cr.device(device):
            found[i] = [explain.attention_maps(gpt, tokens[i]) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, several in found.items():
        for maps in several:
            assert list(maps) == list(want[i])
            assert all((maps[name] == want[i][name]).all() for name in maps)
    assert len(found) == 3


def test_rollout_is_the_product_of_the_layers():
    a, b = (cr.rand(2, 3, 4, 4).softmax(-1) for _ in range(2))
    eye = np.eye(4, dtype=np.float32)
    first, second = (0.5 * x.cpu().numpy().mean(1) + 0.5 * eye for x in (a, b))
    found = explain.attention_rollout({"one": a, "two": b})
    assert_close(found, cr.tensor(second @ first))
    assert_close(found.sum(-1), cr.ones(2, 4))
    top = b.cpu().numpy().max(1)
    want = 0.8 * top / top.sum(-1, keepdims=True) + 0.2 * eye
    assert_close(explain.attention_rollout([b], residual=0.2, heads="max"), cr.tensor(want))
    assert_close(explain.attention_rollout([a], residual=1), cr.tensor(np.stack([eye, eye])))


def test_rollout_errors():
    for maps in ([], [cr.ones(1, 2, 3, 4)], [cr.ones(1, 2, 3, 3), cr.ones(1, 2, 4, 4)], [cr.ones(3, 3)]):
        with pytest.raises(ValueError, match="of the layers of one encoder, not"):
            explain.attention_rollout(maps)
    with pytest.raises(ValueError, match="not 'sum'"):
        explain.attention_rollout([cr.ones(1, 1, 2, 2)], heads="sum")


# -- codes ------------------------------------------------------------------------------------------------------------


def test_codes_of_tensors_datasets_and_loaders():
    model, (x, y) = trained(), data()[1]
    x, y = x[:30], y[:30]
    want = explain.activations(model, x, "pool2")["pool2"].flatten(1)
    assert want.shape == (30, 128)
    for given in (x, (x, y), TensorDataset(x, y), DataLoader(TensorDataset(x), batch_size=8), [x[:20], x[20:]]):
        found = explain.codes(model, given, "pool2", batch=7)
        assert_close(found, want)
        assert not found.requires_grad
    assert_close(explain.codes(model, x), model(x).detach())


def test_codes_stay_with_their_targets():
    x = cr.arange(12.0)[:, None]
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    with cr.no_grad():
        model[0].weight.fill_(2.0)
    generator = cr.Generator(device="cpu").manual_seed(3)
    found, targets = explain.codes(
        model, DataLoader(TensorDataset(x, x[:, 0]), batch_size=5, shuffle=True, generator=generator), targets=True
    )
    assert_close(found[:, 0], 2 * targets)
    assert sorted(targets.tolist()) == list(range(12)) != targets.tolist()


class InPlace(nn.Module):
    """Doubles its input where it lies; attends and scores."""

    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        x.mul_(2)
        return self.head(self.attention(x, x, x)[0][:, 0])


@pytest.mark.parametrize(
    "look",
    [
        lambda model, x: explain.activations(model, x, "head")["head"],
        lambda model, x: explain.activations(model, {"x": x}, "head")["head"],
        lambda model, x: explain.attention_maps(model, x)["attention"],
        lambda model, x: explain.codes(model, x),
        lambda model, x: explain.confusion(model, (x, cr.tensor([0, 2, 1]))),
    ],
)
def test_a_model_that_changes_its_input(look):
    model, x = InPlace(), cr.randn(3, 5, 4)
    before = x.clone()
    found = look(model, x)
    assert cr.equal(x, before)
    assert cr.equal(found, look(model, x))


def test_codes_errors():
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="batches of 0 samples"):
        explain.codes(model, cr.ones(1, 2), batch=0)
    with pytest.raises(ValueError, match="has no layer 'x'"):
        explain.codes(model, cr.ones(1, 2), "x")
    with pytest.raises(ValueError, match="inputs alone"):
        explain.codes(model, cr.ones(1, 2), targets=True)
    with pytest.raises(ValueError, match="no samples"):
        explain.codes(model, cr.ones(0, 2))
    with pytest.raises(ValueError, match="3 inputs and 2 targets"):
        explain.codes(model, (cr.ones(3, 2), cr.ones(2)))
    with pytest.raises(TypeError, match="LSTM gives a tuple, not a tensor: put it into a Module that gives"):
        explain.codes(nn.LSTM(2, 2), cr.ones(1, 1, 2))
    with pytest.raises(TypeError, match="layer '0' gives a tuple, not a tensor: name one that gives a tensor"):
        explain.codes(nn.Sequential(nn.LSTM(2, 2)), cr.ones(1, 1, 2), "0")
    with pytest.raises(TypeError, match="not int"):
        explain.codes(model, 3)


def test_pca_is_the_svd_with_settled_signs():
    x = cr.randn(20, 5, dtype=cr.float64) * cr.tensor([3.0, 1, 2, 0.5, 0.1])
    found = explain.pca(x, 3)
    array = x.cpu().numpy()
    centred = array - array.mean(0)
    _, s, vt = np.linalg.svd(centred, full_matrices=False)
    vt = vt[:3]
    vt = vt * np.sign(vt[range(3), np.abs(vt).argmax(1)])[:, None]
    assert_close(found, cr.tensor(centred @ vt.T))
    assert found.dtype == cr.float64
    assert_close(found.square().sum(0), cr.tensor(s[:3] ** 2))
    flipped = explain.pca(-x, 3)  # the same axes, the points mirrored
    assert_close(flipped, -found)
    assert explain.pca(x.float()).dtype == cr.float32
    assert explain.pca(x.tolist(), 1).shape == (20, 1)


def test_tsne_keeps_blobs_apart_and_repeats():
    x = cr.randn(40, 6)
    x[20:] += 12
    found = explain.tsne(x, seed=1, perplexity=8, steps=300)
    assert found.shape == (40, 2)
    near = (found[:20] - found[:20].mean(0)).norm(dim=1).max(), (found[20:] - found[20:].mean(0)).norm(dim=1).max()
    apart = (found[:20].mean(0) - found[20:].mean(0)).norm()
    assert apart > 2 * max(near)
    assert (explain.tsne(x, seed=1, perplexity=8, steps=300) == found).all()
    assert (explain.tsne(x[:5], seed=1, steps=250)).shape == (5, 2)  # a perplexity that fits few samples


def test_errors_of_points():
    for call, match in (
        (lambda: explain.pca(cr.ones(3)), r"\(N, features\), not \(3,\)"),
        (lambda: explain.pca(cr.ones(3, 4), 4), "at most the smaller"),
        (lambda: explain.tsne(cr.ones(2, 4)), "3 samples or more"),
        (lambda: explain.tsne(cr.ones(9, 4), 4), "3 dimensions or less"),
        (lambda: explain.tsne(cr.ones(9, 4), perplexity=9), "below their number"),
    ):
        with pytest.raises(ValueError, match=match):
            call()


# -- classes ----------------------------------------------------------------------------------------------------------


class Given(nn.Module):
    """Answers with its input."""

    def forward(self, x):
        return x


def test_confusion_counts():
    answers, classes = [0, 0, 1, 2, 2, 2, 0], [0, 1, 1, 2, 0, 2, 1]
    scores = F.one_hot(cr.tensor(answers), 3).float()
    found = explain.confusion(Given(), (scores, cr.tensor(classes)), batch=3)
    assert found.tolist() == [[1, 0, 1], [2, 1, 0], [0, 0, 2]]
    assert found.dtype == cr.int64
    assert explain.most_confused(found) == [(1, 0, 2, 2 / 3), (0, 2, 1, 1 / 2)]
    (worst,) = explain.most_confused(found, 1, names=["cat", "dog", "owl"])
    assert (worst.true, worst.answer, worst.samples) == ("dog", "cat", 2)
    wide = explain.confusion(Given(), (scores, cr.tensor(classes)), num_classes=5)
    assert wide.shape == (5, 5)
    assert wide.sum() == 7


def test_confusion_of_one_score_and_of_places():
    logits, classes = cr.tensor([-1.0, 2, 3, -4]), cr.tensor([0, 1, 0, 1])
    for scores in (logits, logits[:, None]):
        assert explain.confusion(Given(), (scores, classes)).tolist() == [[1, 1], [1, 1]]
    masks = cr.randint(0, 3, (2, 4, 4))
    found = explain.confusion(Given(), (F.one_hot(masks, 3).movedim(-1, 1).float(), masks))
    assert (found == cr.bincount(masks.flatten(), minlength=3).diag()).all()


def test_confusion_of_the_digits():
    model, (x, y) = trained().train(), data()[1]
    found = explain.confusion(model, TensorDataset(x, y))
    with cr.no_grad():
        right = (model.eval()(x).argmax(1) == y).sum()
    assert found.trace() == right
    assert found.sum(1).tolist() == cr.bincount(y, minlength=10).tolist()
    pairs = explain.most_confused(found, 100)
    assert sum(pair.samples for pair in pairs) == len(x) - right
    assert [pair.samples for pair in pairs] == sorted((pair.samples for pair in pairs), reverse=True)


def test_errors_of_classes():
    with pytest.raises(ValueError, match="data with classes"):
        explain.confusion(Given(), cr.ones(3, 2))
    with pytest.raises(ValueError, match="no samples"):
        explain.confusion(Given(), (cr.ones(0, 2), cr.ones(0).long()))
    with pytest.raises(TypeError, match="LSTM gives a tuple, not a tensor: put it into a Module that gives"):
        explain.confusion(nn.LSTM(2, 2), (cr.ones(1, 1, 2), cr.ones(1).long()))
    with pytest.raises(ValueError, match="do not fit 2 classes"):
        explain.confusion(Given(), (cr.ones(3, 2), cr.tensor([0, 1, 5])))
    with pytest.raises(ValueError, match=r"square, \(K, K\), not \(2, 3\)"):
        explain.most_confused(cr.ones(2, 3))
    with pytest.raises(ValueError, match="1 names of 2 classes"):
        explain.most_confused(cr.ones(2, 2), names=["a"])


def test_decision_grid_of_a_linear_classifier():
    model = nn.Linear(2, 2)
    with cr.no_grad():
        model.weight.copy_(cr.tensor([[1.0, 2.0], [0.0, 0.0]]))
        model.bias.copy_(cr.tensor([-1.0, 0.0]))
    xs, ys, scores = explain.decision_grid(model, ((-3, 3), (-2, 2)), 61, batch=100)
    assert_close(xs, cr.linspace(-3, 3, 61))
    assert_close(ys, cr.linspace(-2, 2, 61))
    assert scores.shape == (61, 61, 2)
    side = xs[None] + 2 * ys[:, None] - 1  # class 0 where this is positive: the boundary is y = (1 - x) / 2
    assert_close(scores[..., 0], side)
    clear = side.abs() > 1e-4
    assert ((scores.argmax(2) == 0) == (side > 0))[clear].all()
    assert clear.sum() < 61 * 61  # some lie on it


def test_decision_grid_around_points():
    model = nn.Linear(2, 1, dtype=cr.float64)
    points = cr.tensor([[0.0, 1.0], [10.0, 2.0], [5.0, 5.0]])
    xs, ys, scores = explain.decision_grid(model, points, 5)
    assert [float(v) for v in (xs[0], xs[-1], ys[0], ys[-1])] == pytest.approx([-1, 11, 0.6, 5.4])
    assert scores.shape == (5, 5, 1)
    assert xs.dtype == scores.dtype == cr.float64
    assert not scores.requires_grad
    flat = explain.decision_grid(nn.Sequential(model, nn.Flatten(0)), points, 4)[2]
    assert flat.shape == (4, 4)


def test_errors_of_decision_grids():
    model = nn.Linear(2, 2)
    for place in (cr.ones(3, 4), cr.ones(2, 2), ((0, 1), (2, 2)), (0, 1, 2), ((1, 0), (0, 1))):
        with pytest.raises(ValueError, match=r"place|points in the plane"):
            explain.decision_grid(model, place)
    with pytest.raises(TypeError, match="LSTM gives a tuple, not a tensor"):
        explain.decision_grid(nn.LSTM(2, 2), ((0, 1), (0, 1)), 3)
    with pytest.raises(ValueError, match="2 points or more"):
        explain.decision_grid(model, ((0, 1), (0, 1)), 1)
