"""utils.tensorboard and utils.images: what was written, read back by TensorBoard and Pillow."""

import io
import subprocess
import sys

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.utils.images import make_grid, png, save_image

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

from chainrule.utils.tensorboard import SummaryWriter  # noqa: E402


def read(folder):
    found = event_accumulator.EventAccumulator(
        str(folder), dict.fromkeys(("images", "tensors", "histograms", "audio"), 0)
    )
    return found.Reload()


def plugin(found, tag):
    return found.summary_metadata[tag].plugin_data


def test_scalars(tmp_path):
    with SummaryWriter(log_dir=tmp_path) as writer:
        for step in range(3):
            writer.add_scalar("loss/train", chainrule.tensor(0.5 * step), step)
        writer.add_scalar("numpy", np.float64(2), 7, walltime=12.5)
        writer.add_scalar("new", 0.1, 1, new_style=True, double_precision=True)
        assert writer.get_logdir() == writer.log_dir == str(tmp_path)
        with pytest.raises(NotImplementedError, match="list"):
            writer.add_scalar("x", [1.0])
        with pytest.raises(ValueError, match="one element"):
            writer.add_scalar("x", chainrule.zeros(2))
    found = read(tmp_path)
    assert [(e.step, e.value) for e in found.Scalars("loss/train")] == [(0, 0), (1, 0.5), (2, 1)]
    assert [(e.step, e.value, e.wall_time) for e in found.Scalars("numpy")] == [(7, 2, 12.5)]
    assert found.Tensors("new")[0].tensor_proto.double_val == [0.1]
    assert plugin(found, "new").plugin_name == "scalars"


def test_several_scalars_are_runs(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_scalars("fit/loss", {"train": 1.0, "test": 2.0}, 4)
        writer.add_scalars("fit/loss", {"train": 0.5, "test": 1.5}, 5)
    assert [e.value for e in read(tmp_path / "fit_loss_test").Scalars("fit/loss")] == [2, 1.5]
    assert [e.step for e in read(tmp_path / "fit_loss_train").Scalars("fit/loss")] == [4, 5]


def test_histogram(tmp_path):
    values = chainrule.tensor([-1.0, 0.5, 0.5, 2.0, 0.0])
    with SummaryWriter(tmp_path) as writer:
        writer.add_histogram("weights", values, 1)
        writer.add_histogram("even", np.arange(10), 1, bins=5)
        writer.add_histogram("joined", np.arange(100), 1, bins=50, max_bins=10)
        with pytest.raises(ValueError, match="not finite"):
            writer.add_histogram("x", [np.nan])
        with pytest.raises(ValueError, match="no element"):
            writer.add_histogram("x", [])
    found = read(tmp_path)
    h = found.Histograms("weights")[0].histogram_value
    assert (h.min, h.max, h.num, h.sum, h.sum_squares) == (-1, 2, 5, 2, 5.5)
    assert sum(h.bucket) == 5
    assert len(h.bucket) == len(h.bucket_limit)
    for value in values.tolist():  # each lies in a bucket that counts it
        i = int(np.searchsorted(h.bucket_limit, value, side="right"))
        assert h.bucket[i] >= 1
    even = found.Histograms("even")[0].histogram_value
    assert list(even.bucket) == [0, 2, 2, 2, 2, 2]
    assert np.allclose(even.bucket_limit, [0, 1.8, 3.6, 5.4, 7.2, 9])
    assert list(found.Histograms("joined")[0].histogram_value.bucket) == [0, *[10] * 10]


def test_images(tmp_path):
    image = pytest.importorskip("PIL.Image")
    x = chainrule.rand(3, 5, 7)
    batch = chainrule.rand(10, 1, 4, 4)
    with SummaryWriter(tmp_path) as writer:
        writer.add_image("chw", x)
        writer.add_image("hwc", x.permute(1, 2, 0), dataformats="HWC")
        writer.add_image("hw", np.full((4, 6), 128, np.uint8), dataformats="HW")
        writer.add_images("many", batch)
        with pytest.raises(ValueError, match="different"):
            writer.add_image("x", x, dataformats="HW")
    found = read(tmp_path)

    def pixels(tag):
        event = found.Images(tag)[0]
        shown = np.asarray(image.open(io.BytesIO(event.encoded_image_string)))
        assert (event.height, event.width) == shown.shape[:2]
        return shown

    want = (x.numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
    assert np.array_equal(pixels("chw"), want)
    assert np.array_equal(pixels("hwc"), want)
    assert (pixels("hw") == 128).all()
    many = pixels("many")
    assert many.shape == (8, 32, 3)
    assert np.array_equal(many[4:8, 4:8, 0], (batch[9, 0].numpy() * 255).astype(np.uint8))


def test_figure(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure = pyplot.figure(figsize=(2, 1), dpi=50)
    figure.add_subplot().plot([1, 2])
    with SummaryWriter(tmp_path) as writer:
        writer.add_figure("plot", figure, 3)
    event = read(tmp_path).Images("plot")[0]
    assert (event.width, event.height, event.step) == (100, 50, 3)
    assert not pyplot.fignum_exists(figure.number)


def test_text_audio_and_curves(tmp_path):
    with SummaryWriter(tmp_path) as writer:
        writer.add_text("note", "**bold** μ", 2)
        writer.add_audio("sound", np.sin(np.arange(100)), sample_rate=8000)
        writer.add_pr_curve("pr", np.array([0, 1, 1, 0]), np.array([0.1, 0.9, 0.4, 0.6]), 0)
        writer.add_tensor("t", chainrule.ones(2, 3))
        writer.add_custom_scalars({"a": {"b": ["Multiline", ["x", "y"]]}})
        writer.add_mesh("mesh", chainrule.zeros(1, 4, 3), faces=chainrule.zeros(1, 2, 3, dtype=chainrule.int64))
    found = read(tmp_path)
    assert found.Tensors("note/text_summary")[0].tensor_proto.string_val[0].decode() == "**bold** μ"
    assert found.Audio("sound")[0].sample_rate == 8000
    pr = found.Tensors("pr")[0].tensor_proto
    rows = np.array(pr.float_val).reshape(6, 127)
    at = 63  # threshold 0.5: one right, one wrong, one missed
    assert rows[:4, at].tolist() == [1, 1, 1, 1]
    assert np.allclose(rows[4:, at], 0.5)
    assert rows[5, 0] == 1
    assert plugin(found, "mesh_VERTEX").plugin_name == "mesh"
    assert len(found.Tensors("t")[0].tensor_proto.float_val) == 6


def test_graph(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    with SummaryWriter(tmp_path) as writer:
        writer.add_graph(model, chainrule.zeros(2, 3))
        with pytest.raises(ValueError, match="input_to_model"):
            writer.add_graph(model)
        with chainrule.no_grad(), pytest.raises(ValueError, match="recorded nothing"):
            writer.add_graph(model, chainrule.zeros(2, 3))
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    nodes = {n.name: n for n in GraphDef.FromString(read(tmp_path).Graph().SerializeToString()).node}
    assert nodes["Sequential/0/weight"].op == "Parameter"
    assert "Sequential/0/linear" in nodes
    assert list(nodes["Sequential/1/relu"].input) == ["Sequential/0/linear"]
    assert "Sequential/2/bias" in nodes["Sequential/2/linear"].input
    assert list(nodes["output_0"].input) == ["Sequential/2/linear"]
    assert all(i in nodes for n in nodes.values() for i in n.input)


def test_hparams(tmp_path):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    with SummaryWriter(tmp_path) as writer:
        settings = {"lr": 0.1, "layers": 3, "name": "adam", "bias": True, "none": None}
        writer.add_hparams(settings, {"accuracy": 0.9}, {"layers": [2, 3]}, run_name="trial")
        with pytest.raises(TypeError, match="dictionary"):
            writer.add_hparams([], {})
        with pytest.raises(ValueError, match="int, float, str, bool"):
            writer.add_hparams({"x": [1]}, {}, run_name="y")
    found = read(tmp_path / "trial")
    assert found.Scalars("accuracy")[0].value == pytest.approx(0.9)
    start = HParamsPluginData.FromString(plugin(found, "_hparams_/session_start_info").content).session_start_info
    assert start.hparams["lr"].number_value == 0.1
    assert start.hparams["name"].string_value == "adam"
    assert start.hparams["bias"].bool_value is True
    assert "none" not in start.hparams
    experiment = HParamsPluginData.FromString(plugin(found, "_hparams_/experiment").content).experiment
    (layers,) = [i for i in experiment.hparam_infos if i.name == "layers"]
    assert [v.number_value for v in layers.domain_discrete.values] == [2, 3]
    assert experiment.metric_infos[0].name.tag == "accuracy"


def test_hparams_as_summaries(tmp_path):
    from chainrule.utils.tensorboard.summary import hparams

    with SummaryWriter(tmp_path) as writer:  # as libraries write them, into the run's own file
        for part in hparams({"lr": 0.5}, {"accuracy": 0}):
            writer.file_writer.add_summary(part)
    found = read(tmp_path)
    assert [plugin(found, f"_hparams_/{tag}") is not None for tag in ("experiment", "session_start_info")] == [True] * 2


def test_embedding(tmp_path):
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    with SummaryWriter(tmp_path) as writer:
        writer.add_embedding(chainrule.arange(6.0).reshape(3, 2), ["a", "b", "c"], chainrule.rand(3, 1, 4, 4), 2)
        writer.add_embedding(np.ones((2, 2)), [["x", 1], ["y", 2]], tag="named", metadata_header=["l", "n"])
        with pytest.raises(ValueError, match="#labels"):
            writer.add_embedding(np.ones((2, 2)), ["a"])
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    first, second = config.embeddings
    assert np.loadtxt(tmp_path / first.tensor_path).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (tmp_path / first.metadata_path).read_text() == "a\nb\nc\n"
    assert (tmp_path / first.sprite.image_path).read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / second.metadata_path).read_text() == "l\tn\nx\t1\ny\t2\n"


def test_folder_and_purge(tmp_path, monkeypatch):
    from tensorboard.summary.writer import event_file_writer

    monkeypatch.chdir(tmp_path)
    # files of one second are told apart, and put in order, by a number of theirs as text: 10 would come before 9
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(100))
    writer = SummaryWriter(comment="_try", filename_suffix=".end")
    writer.add_scalar("x", 1, 0)
    writer.flush()
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.endswith("_try")
    assert next(f.name for f in folder.iterdir()).endswith(".end")
    writer.close()
    for step in range(5):
        with SummaryWriter("again", purge_step=3 if step == 4 else None) as writer:
            writer.add_scalar("x", step, step if step < 4 else 3)
    assert [(e.step, e.value) for e in read(tmp_path / "again").Scalars("x")][:3] == [(0, 0), (1, 1), (2, 2)]
    assert read(tmp_path / "again").Scalars("x")[-1].value == 4
    assert len(read(tmp_path / "again").Scalars("x")) == 4


def test_without_the_package_the_error_says_what_to_install(tmp_path):
    code = """
import sys
sys.modules["tensorboard"] = None
import chainrule.utils.tensorboard as t
try:
    t.SummaryWriter("x")
except ImportError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert "pip install chainrule[tensorboard]" in ran.stdout, ran.stderr


# -- images -----------------------------------------------------------------------------------------------------------


def test_png():
    image = pytest.importorskip("PIL.Image")
    for channels in (1, 2, 3, 4):
        x = np.random.default_rng(0).integers(0, 256, (5, 7, channels), dtype=np.uint8)
        assert np.array_equal(np.asarray(image.open(io.BytesIO(png(x)))).reshape(x.shape), x)
    with pytest.raises(ValueError, match="uint8"):
        png(np.zeros((2, 2)))


def test_grid(tmp_path):
    image = pytest.importorskip("PIL.Image")
    x = chainrule.rand(5, 1, 3, 4)
    grid = make_grid(x, nrow=3, padding=1, pad_value=0.5)
    assert grid.shape == (3, 9, 16)
    assert np.array_equal(grid[1, 5:8, 6:10].numpy(), x[4, 0].numpy())
    assert (grid[:, 0] == 0.5).all()
    spread = make_grid(x * 3 - 1, normalize=True)
    assert (spread.min().item(), spread.max().item()) == (0, 1)
    each = make_grid(chainrule.stack([x[0], x[0] * 9]), normalize=True, scale_each=True, padding=0)
    assert np.allclose(each[:, :, :4].numpy(), each[:, :, 4:].numpy(), atol=1e-6)
    assert make_grid([x[0], x[1]]).shape == (3, 7, 14)
    assert make_grid(x[0]).shape == (3, 3, 4)
    save_image(x, tmp_path / "a.png", nrow=2)
    save_image(x[0], str(tmp_path / "a.bmp"))
    with image.open(tmp_path / "a.png") as file:
        shown = np.asarray(file)
    assert np.array_equal(shown, (make_grid(x, nrow=2).numpy() * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0))
    with image.open(tmp_path / "a.bmp") as bmp:
        assert bmp.size == (4, 3)
    with pytest.raises(TypeError, match="list of tensors expected"):
        make_grid(3)
