"""chainrule.utils.benchmark: times of statements, their tables, inputs drawn at random."""

import pickle

import pytest

import chainrule
from chainrule.utils import benchmark
from chainrule.utils.benchmark import Compare, FuzzedParameter, FuzzedTensor, Fuzzer, Measurement, TaskSpec, Timer


def measured(times, number=1, stmt="a", setup="pass", **options):
    return Measurement(number, times, TaskSpec(stmt, setup, **options))


def text(m):
    return repr(m).splitlines()[1:]


def test_a_timer_times_its_statement():
    x = chainrule.ones(3)
    seen = []
    t = Timer("\n    seen.append(1)\n    y = x + torch.ones(3)\n", "\n    z = 1\n", globals={"x": x, "seen": seen})
    m = t.timeit(50)
    assert len(seen) == 52  # two more to warm up
    assert (m.stmt, m.setup, m.number_per_run, len(m.times)) == (
        "seen.append(1)\ny = x + torch.ones(3)",
        "z = 1",
        50,
        1,
    )
    assert m.median == m.raw_times[0] / 50 > 0
    calls = []
    m = t.blocked_autorange(lambda number, time: calls.append((number, time)), min_run_time=0.005)
    assert sum(m.raw_times) >= 0.005
    assert calls == [(m.number_per_run, time) for time in m.raw_times]
    assert t.adaptive_autorange(threshold=100, min_run_time=0.001).meets_confidence(100)
    assert sum(t.adaptive_autorange(threshold=0, max_run_time=0.05).raw_times) >= 0.05
    for wrong in (t.repeat, t.autorange):
        with pytest.raises(NotImplementedError, match="blocked_autorange"):
            wrong()
    with pytest.raises(RuntimeError, match="Valgrind"):
        t.collect_callgrind()
    with pytest.raises(RuntimeError, match=r"C\+\+"):
        Timer("x;", language=benchmark.Language.CPP)
    with pytest.raises(ValueError, match="str"):
        Timer(print)
    with benchmark.set_torch_threads(1):
        assert chainrule.get_num_threads() == 1


def test_measurements_say_what_they_are():
    assert text(measured([1e-3], 10)) == ["a", "  100.00 us", "  1 measurement, 10 runs , 1 thread"]
    m = measured([1e-3, 5e-3] * 4, 10, "a\nb", "x=1", num_threads=2)
    assert text(m) == [
        *("stmt:", "  a", "  b", "", "setup: x=1", "  Median: 300.00 us", "  IQR:    400.00 us (100.00 to 500.00)"),
        "  8 measurements, 10 runs per measurement, 2 threads",
        "  WARNING: Interquartile range is 133.3% of the median measurement.",
        "           This suggests significant environmental influence.",
    ]
    assert (m.significant_figures, m.has_warnings, m.meets_confidence()) == (1, True, False)
    assert text(measured([1.0], label="L", sub_label="s", description="D", setup="x\ny"))[:4] == [
        "L: s",
        "D",
        "setup:",
        "  x",
    ]
    assert measured([1e-3]).significant_figures == 4
    together = Measurement.merge([measured([1.0, 2.0], 2), measured([3.0]), measured([1.0], stmt="b")])
    assert [(x.stmt, x.times) for x in together] == [("a", [0.5, 1.0, 3.0]), ("b", [1.0])]
    assert pickle.loads(pickle.dumps(m)).median == m.median
    assert [benchmark.select_unit(t)[0] for t in (3e-9, 3e-6, 3e-3, 3.0, 300.0, 3e-12)] == [
        "ns",
        "us",
        "ms",
        "s",
        "s",
        "s",
    ]
    assert benchmark.trim_sigfig(12345.678, 3) == 12300
    with pytest.raises(AttributeError, match="Measurement"):
        _ = m.nothing


TABLE = """\
[------------ Batched dot -------------]
                    |  mul/sum  |   bmm$
1 threads: -----------------------------
      [1, 1]        |     1.0   |    3.1
      [64, 64]      |    10.5   |   31.4
      [1024, 1024]  |   104.5   |  313.5
4 threads: -----------------------------
      [1, 1]        |     1.0   |    3.1
      [64, 64]      |    10.5   |   31.4
      [1024, 1024]  |   104.5   |  313.5

Times are in microseconds (us).
"""

TRIMMED = """\
[----------- Batched dot ------------]
                    |  mul/sum  |  bmm
1 threads: ---------------------------
      [1, 1]        |      1    |    3
      [64, 64]      |     10    |   30
      [1024, 1024]  |    100    |  300
"""

PLACES = """\
[-----------  ----------]
           |   d   |   d2
1 threads: --------------
  (A)  s   |  1.0  |$$$$$
  (B)  s   |  2.0  |$$$$$
       s2  |       |  2.0

Times are in milliseconds (ms).
"""


def test_tables(capsys):
    results = [
        measured(
            [1e-6 * f * 10**i * (1 + 0.01 * k) for k in range(10)],
            label="Batched dot",
            sub_label=size,
            description=d,
            num_threads=n,
        )
        for n in (1, 4)
        for i, size in enumerate(("[1, 1]", "[64, 64]", "[1024, 1024]"))
        for d, f in (("mul/sum", 1), ("bmm", 3))
    ]
    compare = Compare(results[:1])
    compare.extend_results(results[1:])
    compare.print()
    assert capsys.readouterr().out == TABLE.replace("$", " ") + "\n"
    compare.trim_significant_figures()
    assert str(compare).startswith(TRIMMED)
    compare.colorize()
    assert "|  \033[92m\033[1m    1  \033[0m\033[0m  |" in str(compare)
    assert "\033[31m\033[1m300\033[0m\033[0m" in str(compare)
    compare.colorize(rowwise=True)
    assert "\033[2m\033[91m300\033[0m\033[0m" in str(compare)
    noisy = Compare(
        [*results[:2], measured([1e-3, 5e-3] * 4, label="Batched dot", sub_label="[1, 1]", description="n")]
    )
    noisy.highlight_warnings()
    assert "  |    1.0    |  3.1  |  3000.0 (! 133%)\n" in str(noisy)
    assert str(noisy).endswith("(! XX%) Measurement has high variance, where XX is the IQR / median * 100.\n")
    places = [
        *(measured([1e-3], stmt="s", env="A", description="d"), measured([2e-3], stmt="s", env="B", description="d")),
        measured([2e-3], stmt="s2", env="B", description="d2"),
    ]
    assert str(Compare(places)) == PLACES.replace("$", " ")
    with pytest.raises(ValueError, match="Measurement"):
        Compare([1.0])


def test_inputs_drawn_at_random():
    def fuzzer(seed=1):
        return Fuzzer(
            [
                FuzzedParameter("dim", distribution={1: 0.3, 2: 0.7}),
                [FuzzedParameter(f"k{i}", 2, 40, "loguniform") for i in range(2)],
                FuzzedParameter("s", 1, 3, "uniform"),
                FuzzedParameter("p", 0.0, 1.0, "uniform"),
                FuzzedParameter("same", distribution={benchmark.ParameterAlias("k0"): 0.5, 1: 0.5}),
            ],
            [
                FuzzedTensor(
                    "x", ("k0", "k1"), ("s", 1), dim_parameter="dim", min_elements=4, probability_contiguous=0.3
                ),
                FuzzedTensor("y", ("same", 5), dtype=chainrule.int64),
            ],
            constraints=[lambda params: params["k0"] > 3],
            seed=seed,
        )

    drawn = fuzzer()
    orders = set()
    for tensors, known, params in drawn.take(30):
        assert params["k0"] > 3
        assert 0 <= params["p"] <= 1
        assert params["same"] in (1, params["k0"])
        assert tuple(tensors["x"].shape) == (params["k0"], params["k1"])[: params["dim"]]
        assert tensors["x"].numel() == known["x"]["numel"] >= 4
        assert known["x"]["is_contiguous"] == tensors["x"].is_contiguous()
        assert tensors["y"].dtype == chainrule.int64
        orders.add(tuple(known["x"]["order"].tolist()))
    assert orders == {(0,), (0, 1), (1, 0)}
    assert 0 < drawn.rejection_rate < 1
    assert [p for *_, p in fuzzer().take(3)] == [p for *_, p in fuzzer().take(3)]
    with pytest.raises(ValueError, match="too narrow"):
        next(Fuzzer([], [], [lambda params: False]).take(1))
    with pytest.raises(ValueError, match="Unknown distribution"):
        FuzzedParameter("a", 1, 2, "normal")
    with pytest.raises(ValueError, match="add up"):
        FuzzedParameter("a", distribution={1: 0.5})
    with pytest.raises(ValueError, match="minval"):
        FuzzedParameter("a", distribution="uniform")
    with pytest.raises(ValueError, match="differ"):
        Fuzzer([FuzzedParameter("a", 1, 2, "uniform")] * 2, [])
    with pytest.raises(TypeError, match="FuzzedTensor"):
        Fuzzer([], [1])
