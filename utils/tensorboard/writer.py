"""TensorBoard's event files: `SummaryWriter` with the names and arguments of torch.utils.tensorboard.

Needs the extra `tensorboard` (`pip install chainrule[tensorboard]`): its event writer and its protocol buffers do the
work. Look at the files by `tensorboard --logdir runs`.
"""

from __future__ import annotations

import datetime
import io
import json
import math
import socket
import time
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...autograd import Tensor
from ...backends import np
from ..images import host, png
from .graph import graph_of
from .library import library
from .summary import hparams, number

__all__ = ["FileWriter", "SummaryWriter"]


def _buckets() -> Any:
    """TensorBoard's limits: each 1.1 times the one before, from 1e-12 to 1e20, and their negatives."""
    up = 1e-12 * 1.1 ** np.arange(math.ceil(math.log(1e32, 1.1)))
    return np.concatenate([-up[::-1], [0.0], up])


def _pixels(tensor: Any, dataformats: str) -> Any:
    """Images of any form as (H, W, C) in uint8: floats are in [0, 1]; several stand side by side in rows of eight."""
    array, form = host(tensor), dataformats.upper()
    if array.ndim != len(form) or len(set(form)) != len(form):
        raise ValueError(f"size of input tensor and input format are different. {array.shape} and {dataformats!r}")
    if array.dtype != np.uint8:
        array = np.clip(array.astype(np.float32) * 255.0, 0, 255).astype(np.uint8)
    if form == "HW":
        return np.repeat(array[:, :, None], 3, 2)
    wanted = "NHWC" if "N" in form else "HWC"
    array = array.transpose([form.index(c) for c in wanted])
    if "N" in form:
        n, h, w, channels = array.shape
        columns = min(n, 8)
        grid = np.zeros((math.ceil(n / columns) * h, columns * w, channels), np.uint8)
        for i, image in enumerate(array):
            top, left = i // columns * h, i % columns * w
            grid[top : top + h, left : left + w] = image
        array = grid
    return np.repeat(array, 3, 2) if array.shape[2] == 1 else array


class FileWriter:
    """Writes events and summaries into one file in `log_dir`; flushes every `flush_secs` seconds.

    max_queue: how many events wait before they are written. filename_suffix: the end of the file's name.
    """

    def __init__(self, log_dir: Any, max_queue: int = 10, flush_secs: int = 120, filename_suffix: str = "") -> None:
        self._event = library("compat.proto.event_pb2").Event
        writer = library("summary.writer.event_file_writer").EventFileWriter
        self.event_writer = writer(str(log_dir), max_queue, flush_secs, filename_suffix)

    def get_logdir(self) -> str:
        """The folder of the file."""
        return str(self.event_writer.get_logdir())

    def add_event(self, event: Any, step: Any = None, walltime: float | None = None) -> None:
        """Write an Event, at a step."""
        event.wall_time = time.time() if walltime is None else walltime
        if step is not None:
            event.step = int(step)
        self.event_writer.add_event(event)

    def add_summary(self, summary: Any, global_step: Any = None, walltime: float | None = None) -> None:
        """Write a Summary, at a step."""
        self.add_event(self._event(summary=summary), global_step, walltime)

    def flush(self) -> None:
        """Write what waits."""
        self.event_writer.flush()

    def close(self) -> None:
        """Write what waits, and close the file."""
        self.event_writer.close()


class SummaryWriter:
    """Logs numbers, histograms, pictures and texts of a training into `log_dir`, for TensorBoard.

    log_dir: default runs/DATE_TIME_HOST + comment. purge_step: TensorBoard forgets what an earlier run wrote from that
    step on. max_queue events wait at most flush_secs seconds. `with SummaryWriter() as w:` closes it. filename_suffix:
    at the end of the files' names.
    """

    def __init__(
        self,
        log_dir: Any = None,
        comment: str = "",
        purge_step: int | None = None,
        max_queue: int = 10,
        flush_secs: int = 120,
        filename_suffix: str = "",
    ) -> None:
        if not log_dir:
            now = datetime.datetime.now().strftime("%b%d_%H-%M-%S")
            log_dir = Path("runs") / f"{now}_{socket.gethostname()}{comment}"
        self.log_dir = str(log_dir)
        self.purge_step, self.max_queue, self.flush_secs = purge_step, max_queue, flush_secs
        self.filename_suffix = filename_suffix
        self._summary = library("compat.proto.summary_pb2")
        self._tensor = library("compat.proto.tensor_pb2").TensorProto
        self._shape = library("compat.proto.tensor_shape_pb2").TensorShapeProto
        self.file_writer: FileWriter | None = None
        self.all_writers: dict[str, FileWriter] | None = None
        self._get_file_writer()

    def _get_file_writer(self) -> FileWriter:
        """The writer of this folder; a new file after `close`."""
        if self.file_writer is None or self.all_writers is None:
            self.file_writer = self._writer(self.log_dir)
            self.all_writers = {self.file_writer.get_logdir(): self.file_writer}
            if self.purge_step is not None:
                events = library("compat.proto.event_pb2")
                start = events.SessionLog(status=events.SessionLog.START)
                self.file_writer.add_event(events.Event(step=self.purge_step, file_version="brain.Event:2"))
                self.file_writer.add_event(events.Event(step=self.purge_step, session_log=start))
                self.purge_step = None
        return self.file_writer

    def _writer(self, folder: str) -> FileWriter:
        return FileWriter(folder, self.max_queue, self.flush_secs, self.filename_suffix)

    def _add(self, global_step: Any, walltime: float | None, **value: Any) -> None:
        summary = self._summary.Summary(value=[self._summary.Summary.Value(**value)])
        self._get_file_writer().add_summary(summary, global_step, walltime)

    def _metadata(self, plugin: str, content: bytes) -> Any:
        kind = self._summary.SummaryMetadata
        return kind(plugin_data=kind.PluginData(plugin_name=plugin, content=content))

    def get_logdir(self) -> str:
        """The folder of the files."""
        return self.log_dir

    # -- numbers ------------------------------------------------------------------------------------------------------

    def add_scalar(
        self,
        tag: str,
        scalar_value: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        new_style: bool = False,
        double_precision: bool = False,
    ) -> None:
        """A number at a step. new_style writes it as a tensor, which double_precision makes one of float64."""
        value = number(scalar_value)
        if not new_style:
            self._add(global_step, walltime, tag=tag, simple_value=value)
            return
        field, kind = ("double_val", "DT_DOUBLE") if double_precision else ("float_val", "DT_FLOAT")
        tensor = self._tensor(dtype=kind, **{field: [value]})
        self._add(global_step, walltime, tag=tag, tensor=tensor, metadata=self._metadata("scalars", b""))

    def add_scalars(
        self,
        main_tag: str,
        tag_scalar_dict: dict[str, Any],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Several numbers in one plot: each goes into a run of its own, `log_dir`/main_tag_name."""
        self._get_file_writer()
        assert self.all_writers is not None
        for name, value in tag_scalar_dict.items():
            folder = f"{self.log_dir}/{main_tag.replace('/', '_')}_{name}"
            if folder not in self.all_writers:
                self.all_writers[folder] = self._writer(folder)
            entry = self._summary.Summary.Value(tag=main_tag, simple_value=number(value))
            self.all_writers[folder].add_summary(self._summary.Summary(value=[entry]), global_step, walltime)

    def add_tensor(
        self, tag: str, tensor: Tensor, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """A tensor of float32 or float64 at a step."""
        array = host(tensor)
        form = (
            {"double_val": array.ravel().tolist(), "dtype": "DT_DOUBLE"}
            if array.dtype == np.float64
            else {"float_val": array.ravel().tolist(), "dtype": "DT_FLOAT"}
        )
        shape = self._shape(dim=[self._shape.Dim(size=n) for n in array.shape])
        self._add(
            global_step,
            walltime,
            tag=tag,
            tensor=self._tensor(tensor_shape=shape, **form),
            metadata=self._metadata("tensor", b""),
        )

    def add_histogram(
        self,
        tag: str,
        values: Any,
        global_step: int | None = None,
        bins: Any = "tensorflow",
        walltime: float | None = None,
        max_bins: int | None = None,
    ) -> None:
        """How values are distributed. bins: "tensorflow" or what `numpy.histogram` takes; max_bins joins neighbours."""
        array = host(values).astype(np.float64).ravel()
        if not array.size:
            raise ValueError("The input has no element.")
        if not np.isfinite(array).all():
            raise ValueError(f"add_histogram: {tag} holds values that are not finite")
        counts, limits = np.histogram(array, _buckets() if isinstance(bins, str) and bins == "tensorflow" else bins)
        if max_bins is not None and len(counts) > max_bins:
            step = -(-len(counts) // max_bins)
            counts = np.add.reduceat(counts, np.arange(0, len(counts), step))
            limits = np.append(limits[:-1:step], limits[-1])
        used = np.flatnonzero(counts)
        first, last = (int(used[0]), int(used[-1])) if len(used) else (0, len(counts) - 1)
        # the first bucket is an empty one, whose limit is where the first full one begins
        self.add_histogram_raw(
            tag,
            float(array.min()),
            float(array.max()),
            array.size,
            float(array.sum()),
            float(array @ array),
            limits[first : last + 2].tolist(),
            [0, *counts[first : last + 1].tolist()],
            global_step,
            walltime,
        )

    def add_histogram_raw(
        self,
        tag: str,
        min: float,
        max: float,
        num: int,
        sum: float,
        sum_squares: float,
        bucket_limits: Sequence[float],
        bucket_counts: Sequence[int],
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """A histogram that has been counted: bucket i ends at bucket_limits[i]."""
        if len(bucket_limits) != len(bucket_counts):
            raise ValueError("len(bucket_limits) != len(bucket_counts), see the document.")
        histogram = library("compat.proto.histogram_pb2").HistogramProto(
            min=min,
            max=max,
            num=num,
            sum=sum,
            sum_squares=sum_squares,
            bucket_limit=bucket_limits,
            bucket=bucket_counts,
        )
        self._add(global_step, walltime, tag=tag, histo=histogram)

    def add_pr_curve(
        self,
        tag: str,
        labels: Any,
        predictions: Any,
        global_step: int | None = None,
        num_thresholds: int = 127,
        weights: Any = None,
        walltime: float | None = None,
    ) -> None:
        """Precision and recall of predictions in [0, 1] for labels 0 and 1, at num_thresholds thresholds."""
        truth, scores = host(labels).ravel().astype(bool), host(predictions).ravel()
        weight = np.ones(len(truth)) if weights is None else host(weights).ravel()
        thresholds = min(num_thresholds, 127)
        bucket = np.clip(np.floor(scores * (thresholds - 1)), 0, thresholds - 1).astype(int)
        true, false = (np.bincount(bucket[m], weight[m], thresholds)[::-1].cumsum()[::-1] for m in (truth, ~truth))
        least = 1e-7
        data = np.stack(
            [
                true,
                false,
                false[0] - false,
                true[0] - true,
                true / np.maximum(least, true + false),
                true / np.maximum(least, true[0]),
            ]
        )
        content = library("plugins.pr_curve.plugin_data_pb2").PrCurvePluginData(version=0, num_thresholds=thresholds)
        shape = self._shape(dim=[self._shape.Dim(size=n) for n in data.shape])
        tensor = self._tensor(dtype="DT_FLOAT", float_val=data.ravel().tolist(), tensor_shape=shape)
        metadata = self._metadata("pr_curves", content.SerializeToString())
        self._add(global_step, walltime, tag=tag, tensor=tensor, metadata=metadata)

    # -- pictures, sound, text ----------------------------------------------------------------------------------------

    def add_image(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "CHW",
    ) -> None:
        """A picture: floats in [0, 1] or uint8, in the form `dataformats` (CHW, HWC, HW, NCHW, ...)."""
        pixels = _pixels(img_tensor, dataformats)
        h, w, channels = pixels.shape
        image = self._summary.Summary.Image(height=h, width=w, colorspace=channels, encoded_image_string=png(pixels))
        self._add(global_step, walltime, tag=tag, image=image)

    def add_images(
        self,
        tag: str,
        img_tensor: Any,
        global_step: int | None = None,
        walltime: float | None = None,
        dataformats: str = "NCHW",
    ) -> None:
        """Several pictures as one, in rows of eight."""
        if isinstance(img_tensor, list):
            img_tensor = np.stack([host(t) for t in img_tensor])
            dataformats = dataformats if len(dataformats) == 4 else "N" + dataformats
        self.add_image(tag, img_tensor, global_step, walltime, dataformats)

    def add_figure(
        self,
        tag: str,
        figure: Any,
        global_step: int | None = None,
        close: bool = True,
        walltime: float | None = None,
    ) -> None:
        """A Matplotlib figure, or a list of them of equal sizes, as a picture; `close` closes them."""
        from matplotlib import pyplot
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        def drawn(f: Any) -> Any:
            canvas = FigureCanvasAgg(f)
            canvas.draw()
            pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
            if close:
                pyplot.close(f)
            return pixels

        if isinstance(figure, list):
            self.add_image(tag, np.stack([drawn(f) for f in figure]), global_step, walltime, "NHWC")
        else:
            self.add_image(tag, drawn(figure), global_step, walltime, "HWC")

    def add_audio(
        self,
        tag: str,
        snd_tensor: Any,
        global_step: int | None = None,
        sample_rate: int = 44100,
        walltime: float | None = None,
    ) -> None:
        """A sound of one channel, values in [-1, 1]."""
        samples = (np.clip(host(snd_tensor).ravel(), -1, 1) * 32767).astype("<i2")
        file = io.BytesIO()
        with wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(sample_rate)
            sound.writeframes(samples.tobytes())
        audio = self._summary.Summary.Audio(
            sample_rate=sample_rate,
            num_channels=1,
            length_frames=len(samples),
            encoded_audio_string=file.getvalue(),
            content_type="audio/wav",
        )
        self._add(global_step, walltime, tag=tag, audio=audio)

    def add_text(
        self, tag: str, text_string: str, global_step: int | None = None, walltime: float | None = None
    ) -> None:
        """A text, which TensorBoard reads as Markdown."""
        content = library("plugins.text.plugin_data_pb2").TextPluginData(version=0).SerializeToString()
        tensor = self._tensor(
            dtype="DT_STRING",
            string_val=[str(text_string).encode()],
            tensor_shape=self._shape(dim=[self._shape.Dim(size=1)]),
        )
        metadata = self._metadata("text", content)
        self._add(global_step, walltime, tag=f"{tag}/text_summary", tensor=tensor, metadata=metadata)

    # -- models -------------------------------------------------------------------------------------------------------

    def add_graph(
        self, model: Any, input_to_model: Any = None, verbose: bool = False, use_strict_trace: bool = True
    ) -> None:
        """The ops that `model(*input_to_model)` records, each under the module that called it.

        What needs no gradient is not recorded and so not drawn. use_strict_trace is PyTorch's and changes nothing.
        """
        if input_to_model is None:
            raise ValueError("add_graph needs input_to_model: the graph is that of a forward pass")
        graph = graph_of(model, input_to_model)
        if verbose:
            print(graph)  # noqa: T201  what verbose asks for
        self._get_file_writer()
        event = library("compat.proto.event_pb2").Event(graph_def=graph.SerializeToString())
        self._get_file_writer().add_event(event)

    def add_hparams(
        self,
        hparam_dict: dict[str, Any],
        metric_dict: dict[str, Any],
        hparam_domain_discrete: dict[str, list[Any]] | None = None,
        run_name: str | None = None,
        global_step: int | None = None,
    ) -> None:
        """Hyper-parameters (numbers, strings, truth values) and the metrics that they gave, as a run of its own."""
        parts = hparams(hparam_dict, metric_dict, hparam_domain_discrete)
        folder = str(Path(self.log_dir) / (str(time.time()) if run_name is None else run_name))
        with SummaryWriter(folder) as run:
            for part in parts:
                run._get_file_writer().add_summary(part)
            for name, value in metric_dict.items():
                run.add_scalar(name, value, global_step)

    def add_embedding(
        self,
        mat: Any,
        metadata: Sequence[Any] | None = None,
        label_img: Any = None,
        global_step: int | None = None,
        tag: str = "default",
        metadata_header: Sequence[str] | None = None,
    ) -> None:
        """Points (N, D) for TensorBoard's projector, with labels and small pictures (N, C, H, W), as tsv files."""
        points = host(mat)
        if points.ndim != 2:
            raise ValueError("mat should be 2D, where mat.size(0) is the number of data points")
        step = 0 if global_step is None else int(global_step)
        name = f"{step:05d}/{tag}"
        folder = Path(self.log_dir) / name
        folder.mkdir(parents=True, exist_ok=True)
        lines = ["\t".join(map(repr, row)) for row in points.tolist()]
        (folder / "tensors.tsv").write_text("\n".join(lines) + "\n")
        config = [f'tensor_name: "{tag}:{step:05d}"', f'tensor_path: "{name}/tensors.tsv"']
        if metadata is not None:
            if len(metadata) != len(points):
                raise ValueError("#labels should equal with #data points")
            rows = ["\t".join(map(str, m)) if metadata_header else str(m) for m in metadata]
            head = ["\t".join(metadata_header)] if metadata_header else []
            (folder / "metadata.tsv").write_text("\n".join(head + rows) + "\n", encoding="utf-8")
            config.append(f'metadata_path: "{name}/metadata.tsv"')
        if label_img is not None:
            pictures = host(label_img)
            if len(pictures) != len(points):
                raise ValueError("#images should equal with #data points")
            h, w = pictures.shape[2:]
            side = math.ceil(math.sqrt(len(pictures)))
            sheet = np.zeros((side * h, side * w, 3), np.uint8)
            for i, picture in enumerate(pictures):
                top, left = i // side * h, i % side * w
                sheet[top : top + h, left : left + w] = _pixels(picture, "CHW")
            (folder / "sprite.png").write_bytes(png(sheet))
            sprite = f'image_path: "{name}/sprite.png" single_image_dim: {w} single_image_dim: {h}'
            config.append(f"sprite {{ {sprite} }}")
        with open(Path(self.log_dir) / "projector_config.pbtxt", "a") as file:
            file.write("embeddings {\n" + "".join(f"  {line}\n" for line in config) + "}\n")

    def add_custom_scalars(self, layout: dict[str, dict[str, list[Any]]]) -> None:
        """Plots of several scalars: {category: {title: ["Multiline" or "Margin", [tags]]}}."""
        form = library("plugins.custom_scalar.layout_pb2")
        categories = []
        for category, plots in layout.items():
            charts = []
            for title, (kind, tags) in plots.items():
                if kind == "Margin":
                    series = [form.MarginChartContent.Series(value=tags[0], lower=tags[1], upper=tags[2])]
                    charts.append(form.Chart(title=title, margin=form.MarginChartContent(series=series)))
                else:
                    charts.append(form.Chart(title=title, multiline=form.MultilineChartContent(tag=tags)))
            categories.append(form.Category(title=category, chart=charts))
        content = form.Layout(category=categories).SerializeToString()
        tensor = self._tensor(dtype="DT_STRING", string_val=[content], tensor_shape=self._shape())
        self._add(
            None, None, tag="custom_scalars__config__", tensor=tensor, metadata=self._metadata("custom_scalars", b"")
        )

    def add_mesh(
        self,
        tag: str,
        vertices: Any,
        colors: Any = None,
        faces: Any = None,
        config_dict: dict[str, Any] | None = None,
        global_step: int | None = None,
        walltime: float | None = None,
    ) -> None:
        """Points (N, P, 3) in space, with colours (N, P, 3) of 0 to 255 and triangles (N, F, 3) of their numbers."""
        plugin = library("plugins.mesh.plugin_data_pb2").MeshPluginData
        given = [(plugin.VERTEX, vertices, "f"), (plugin.FACE, faces, "i"), (plugin.COLOR, colors, "i")]
        parts = [(kind, host(data), form) for kind, data, form in given if data is not None]
        components = sum(1 << kind for kind, _, _ in parts)
        for kind, data, form in parts:
            content = plugin(
                version=0,
                name=tag,
                content_type=kind,
                json_config=json.dumps(config_dict or {}, sort_keys=True),
                shape=data.shape,
                components=components,
            ).SerializeToString()
            shape = self._shape(dim=[self._shape.Dim(size=n) for n in data.shape])
            numbers = (
                {"dtype": "DT_FLOAT", "float_val": data.ravel().tolist()}
                if form == "f"
                else {"dtype": "DT_INT32", "int_val": data.astype(int).ravel().tolist()}
            )
            tensor = self._tensor(tensor_shape=shape, **numbers)
            name = f"{tag}_{plugin.ContentType.Name(kind)}"
            self._add(global_step, walltime, tag=name, tensor=tensor, metadata=self._metadata("mesh", content))

    # -- the files ----------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what waits to the disk."""
        for writer in (self.all_writers or {}).values():
            writer.flush()

    def close(self) -> None:
        """Write what waits and close the files; another `add_` opens a new one."""
        for writer in (self.all_writers or {}).values():
            writer.flush()
            writer.close()
        self.file_writer = self.all_writers = None

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
