"""Models that attend: Transformer, GPT, captioner. Shapes, numbers of parameters, a few steps of training."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.models.captioner import Captioner
from chainrule.models.gpt import GPT, GPTConfig, narrowed
from chainrule.models.transformer import PositionalEncoding, TranslationTransformer, noam


def count(model):
    return sum(p.numel() for p in model.parameters())


def trained(model, loss, steps, optimizer=None):
    """The losses of some steps of Adam."""
    optimizer = optimizer or cr.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def close(a, b, tolerance=1e-5):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


# -- Transformer ------------------------------------------------------------------------------------------------------

START = 1


def small_transformer(**options):
    cr.manual_seed(0)
    return TranslationTransformer(9, d_model=16, heads=2, layers=1, feed_forward=32, dropout=0.0, **options)


def test_positions_by_the_formula():
    pe = PositionalEncoding(6, dropout=0.0, max_len=20)
    found = pe(cr.zeros(1, 20, 6))[0]
    t, i = np.arange(20)[:, None], np.arange(3)
    angles = t / 10000 ** (2 * i / 6)
    np.testing.assert_allclose(found[:, 0::2].numpy(), np.sin(angles), atol=1e-5)
    np.testing.assert_allclose(found[:, 1::2].numpy(), np.cos(angles), atol=1e-5)
    # PE(t + k) is a rotation of PE(t): products of two positions depend on their distance alone
    products = (found @ found.T).numpy()
    np.testing.assert_allclose(products[2, 5], products[12, 15], rtol=1e-4)
    with pytest.raises(ValueError, match="longer than max_len=20"):
        pe(cr.zeros(1, 21, 6))
    assert PositionalEncoding(5).pe.shape == (1, 5000, 5)


def test_transformer_counts():
    """An attention has 4 d² + 4 d weights, a feed-forward net 2 d f + d + f, a norm 2 d."""

    def expected(v, d, f, n):
        attention, net, norm = 4 * d * d + 4 * d, 2 * d * f + d + f, 2 * d
        return v * d + n * (attention + net + 2 * norm) + n * (2 * attention + net + 3 * norm)

    assert count(small_transformer()) == expected(9, 16, 32, 1)
    assert expected(37000, 512, 2048, 6) == pytest.approx(65e6, rel=0.04)  # the paper's base model


def test_transformer_looks_neither_ahead_nor_at_padding():
    model = small_transformer().eval()
    source, target = cr.tensor([[3, 4, 5, 0, 0]]), cr.tensor([[START, 6, 7, 8]])
    logits = model(source, target)
    assert logits.shape == (1, 4, 9)
    changed = model(source, cr.tensor([[START, 6, 2, 2]]))
    close(changed[:, :2], logits[:, :2])
    assert (changed[:, 2:] != logits[:, 2:]).any()
    close(model(source[:, :3], target), logits)
    close(model(cr.tensor([[3, 4, 5, 0, 0, 0]]), target), logits)


def test_transformer_learns_to_reverse():
    model = small_transformer()
    source = cr.tensor([[3, 4, 5, 6], [7, 3, 3, 8], [5, 8, 0, 0], [6, 4, 7, 0]])
    target = cr.tensor([[START, 6, 5, 4, 3], [START, 8, 3, 3, 7], [START, 8, 5, 2, 0], [START, 7, 4, 6, 2]])
    losses = trained(model, lambda: model.loss(source, target), 60)
    assert losses[-1] < 0.4 * losses[0]
    model.eval()
    assert model.loss(source, target).item() < losses[-1]  # without smoothing
    assert model.translate(source, START, 4, end=2).tolist()[:2] == target[:2, 1:].tolist()
    assert model.translate(source[2:3], START, 4, end=2).tolist() == [[8, 5, 2]]


def test_noam_rises_and_falls():
    rates = [noam(s, 512, 100) for s in range(1, 400)]
    assert rates.index(max(rates)) == 99
    assert rates[9] == pytest.approx(10 * rates[0])
    assert rates[398] / rates[99] == pytest.approx(math.sqrt(100 / 399))
    assert noam(4000) == pytest.approx(512**-0.5 * 4000**-0.5)
    with pytest.raises(ValueError, match="steps count from 1"):
        noam(0)
    optimizer = cr.optim.SGD([nn.Parameter(cr.zeros(1))], lr=1.0)
    schedule = cr.optim.lr_scheduler.LambdaLR(optimizer, lambda s: noam(s + 1, 512, 100))
    assert schedule.get_last_lr()[0] == pytest.approx(rates[0])


# -- GPT --------------------------------------------------------------------------------------------------------------


def small_gpt(**options):
    cr.manual_seed(0)
    sizes = {"vocab_size": 7, "block_size": 8, "n_layer": 2, "n_head": 2, "n_embd": 16, "dropout": 0.0}
    return GPT(GPTConfig(**{**sizes, **options}))


def test_gpt_counts():
    def expected(v, t, n, d):
        return v * d + t * d + n * (12 * d * d + 13 * d) + 2 * d

    assert count(small_gpt()) == expected(7, 8, 2, 16)
    assert expected(50257, 1024, 12, 768) == 124_439_808  # GPT-2 small
    model = small_gpt()
    assert model.lm_head.weight is model.transformer.wte.weight


def test_gpt_starts_at_chance_and_looks_back_only():
    model = small_gpt()
    idx = cr.tensor([[1, 2, 3, 4, 5]])
    logits, loss = model(idx, cr.tensor([[2, 3, 4, 5, -1]]))
    assert loss.item() == pytest.approx(math.log(7), abs=0.1)
    close(model(cr.tensor([[1, 2, 3, 6, 6]]))[0][:, :3], logits[:, :3])
    with pytest.raises(ValueError, match="longer than block_size=8"):
        model(cr.zeros(1, 9).long())
    with pytest.raises(ValueError, match=r"tokens are \(batch, time\), got shape \(5,\)"):
        model(idx[0])
    assert model.transformer.h[0].mlp.c_proj.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert model.transformer.h[0].mlp.c_fc.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_gpt_learns_to_count():
    model = small_gpt()
    text = cr.arange(9).remainder(7)[None]
    groups = model.parameter_groups(0.1)
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    assert {p.ndim for p in groups[0]["params"]} == {2}
    assert {p.ndim for p in groups[1]["params"]} == {1}
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
    losses = trained(model, lambda: model(text[:, :-1], text[:, 1:])[1], 40, cr.optim.AdamW(groups, lr=1e-2))
    assert losses[-1] < 0.2 * losses[0]
    model.eval()
    assert model.generate(cr.tensor([[0, 1]]), 5, temperature=0).tolist() == [[0, 1, 2, 3, 4, 5, 6]]
    assert model.generate(cr.tensor([[0]]), 12).shape == (1, 13)  # beyond the block


def test_gpt_draws_among_the_likeliest():
    logits = cr.tensor([[0.5, 0.1, 0.3, 0.1]]).log()
    kept = [[False, False, False, False], [True, False, True, False], [True, False, False, False]]
    assert (narrowed(logits) > -math.inf).all()
    assert (narrowed(logits, top_k=2) > -math.inf).tolist() == kept[1:2]
    assert (narrowed(logits, top_p=0.7) > -math.inf).tolist() == kept[1:2]
    assert (narrowed(logits, top_p=0.4) > -math.inf).tolist() == kept[2:]
    assert (narrowed(logits, top_k=99, top_p=1.0) > -math.inf).all()
    model, start = small_gpt(), cr.tensor([[0]])
    generators = [cr.Generator().manual_seed(3) for _ in range(2)]
    one, two = (model.generate(start, 6, generator=g).tolist() for g in generators)
    assert one == two
    assert model.generate(start, 6, top_k=1).tolist() == model.generate(start, 6, temperature=0).tolist()


def test_gpt_takes_a_checkpoint():
    model = small_gpt(n_layer=1)
    state = {}
    for name, p in model.state_dict().items():
        turned = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
        if name != "lm_head.weight":  # as published: without a prefix, projections (in, out), and the masks
            state[name.removeprefix("transformer.")] = p.t().contiguous() if turned else p
    state["h.0.attn.bias"] = cr.ones(8, 8).tril()
    other = GPT.from_gpt2(state, n_head=2).eval()
    idx = cr.tensor([[1, 2, 3]])
    close(other(idx)[0], model.eval()(idx)[0])
    assert other.lm_head.weight is other.transformer.wte.weight
    with pytest.raises(ValueError, match=r"wpe.weight has shape|ln_f.weight has shape"):
        GPT.from_gpt2({**state, "ln_f.weight": cr.ones(3)}, n_head=2)


# -- captions ---------------------------------------------------------------------------------------------------------


def shapes_and_captions():
    """A bright square in one of four corners, and where it is: start, vertical word, horizontal word."""
    images, captions = cr.zeros(4, 1, 16, 16), []
    for i in range(4):
        row, column = divmod(i, 2)
        images[i, 0, 8 * row + 2 : 8 * row + 6, 8 * column + 2 : 8 * column + 6] = 1.0
        captions.append([1, 3 + row, 5 + column, 2])
    return images, cr.tensor(captions)


@pytest.mark.parametrize("attention", ["soft", "hard"])
def test_captioner_learns(attention):
    cr.manual_seed(0)
    images, captions = shapes_and_captions()
    model = Captioner(7, annotation=8, embedding=8, hidden=16, attention=attention, doubly=0.1)
    told = model(images, captions[:, :-1])
    assert told.logits.shape == (4, 3, 7)
    assert told.weights.shape == (4, 3, 16)
    close(told.weights.sum(2), cr.ones(4, 3))
    assert (told.places is None) == (attention == "soft")

    def cross_entropy():  # the loss itself holds what attention costs, too
        return nn.functional.cross_entropy(
            model(images, captions[:, :-1]).logits.flatten(0, 1), captions[:, 1:].flatten()
        )

    before = cross_entropy().item()
    trained(model, lambda: model.loss(images, captions), 120)
    assert before == pytest.approx(math.log(7), abs=0.2)
    assert cross_entropy().item() < 0.3 * before
    words, looked = model.eval().caption(images, 1, 5, end=2)
    assert looked.shape[:2] == words.shape
    if attention == "soft":
        assert words.tolist() == captions[:, 1:].tolist()


def test_hard_attention_learns_where_to_look_by_reinforcement():
    """The estimator's mean is the gradient of the expected log-likelihood: one place of two is right."""
    cr.manual_seed(0)
    images, captions = shapes_and_captions()
    model = Captioner(7, annotation=8, embedding=8, hidden=16, attention="hard", entropy=0.0)
    model.loss(images, captions).backward()
    assert model.look.weight.grad.any()  # through log α alone: the place drawn has no gradient
    assert model.baseline.item() < 0  # has begun to follow log p
    close(model.baseline, cr.tensor(0.1 * 3 * -math.log(7)), 0.2)
    assert model(images, captions[:, :-1]).places.shape == (4, 3)
    model.eval()
    one, two = (model(images, captions[:, :-1]) for _ in range(2))
    close(one.logits, two.logits)  # the likeliest place, nothing drawn
    assert (one.places == one.weights.argmax(2)).all()


def test_captioner_ignores_padding():
    images, captions = shapes_and_captions()
    model = Captioner(7, annotation=8, embedding=8, hidden=16)
    padded = cr.cat([captions, cr.zeros(4, 2).long()], 1)
    close(model.loss(images, padded), model.loss(images, captions))
    with pytest.raises(ValueError, match="attention is soft or hard"):
        Captioner(7, attention="medium")
    own = Captioner(7, encoder=nn.Conv2d(1, 5, 4, 4), annotation=5, embedding=8, hidden=16)
    assert own(images, captions).weights.shape == (4, 4, 16)
