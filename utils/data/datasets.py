"""Readers of well-known data sets, from files that the user has, with the names and arguments of torchvision.datasets.

Nothing is downloaded: where files are missing, `DatasetNotFoundError` names them, the folder, and their origin. Samples
are NumPy arrays of uint8, (H, W) or (H, W, C), where torchvision has Pillow images, so that these readers need NumPy
alone; `transforms` take both. ImageFolder reads with Pillow (extra `images`) and gives Pillow images.

Formats: Y. LeCun, C. Cortes, C. Burges, "The MNIST database" (idx files); A. Krizhevsky, "Learning Multiple Layers of
Features from Tiny Images", 2009 (CIFAR).
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...autograd import FUNCTIONS, Generator, Tensor
from ...backends import np
from .dataset import Dataset

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "EMNIST",
    "IMG_EXTENSIONS",
    "KMNIST",
    "MNIST",
    "DatasetFolder",
    "DatasetNotFoundError",
    "FakeData",
    "FashionMNIST",
    "ImageFolder",
    "VisionDataset",
    "default_loader",
    "read_idx",
    "read_plain_pickle",
]


class DatasetNotFoundError(FileNotFoundError, RuntimeError):
    """Files of a data set are not where they should be. RuntimeError, as in torchvision, and FileNotFoundError."""


def _missing(name: str, files: Sequence[str], folder: Any, origin: str) -> DatasetNotFoundError:
    return DatasetNotFoundError(
        f"Dataset not found. {name} needs {', '.join(files)} in {folder}. chainrule downloads nothing: fetch the files "
        f"from {origin} and put them there"
    )


class VisionDataset(Dataset[Any]):
    """What data sets of images have in common: root, `transform` of the image and `target_transform` of the target.

    `transforms`, instead of both, is a function of (image, target) that returns both.
    """

    def __init__(
        self,
        root: Any = None,
        transforms: Callable[..., Any] | None = None,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
    ) -> None:
        if transforms is not None and (transform is not None or target_transform is not None):
            raise ValueError("Only transforms or transform/target_transform can be passed as argument")
        self.root = os.path.expanduser(root) if isinstance(root, (str, os.PathLike)) else root
        self.transforms, self.transform, self.target_transform = transforms, transform, target_transform

    def __len__(self) -> int:
        raise NotImplementedError

    def _sample(self, img: Any, target: Any) -> tuple[Any, Any]:
        if self.transforms is not None:
            return self.transforms(img, target)
        if self.transform is not None:
            img = self.transform(img)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return img, target

    def extra_repr(self) -> str:
        """A line for `repr`."""
        return ""

    def __repr__(self) -> str:
        lines = [f"Number of datapoints: {len(self)}"]
        lines += [] if self.root is None else [f"Root location: {self.root}"]
        lines += self.extra_repr().splitlines()
        changes = [("Transform", self.transform), ("Target transform", self.target_transform)]
        if any(change is not None for _, change in changes):
            lines.append("StandardTransform")
        text = "\n".join([f"Dataset {type(self).__name__}", *["    " + line for line in lines]])
        for name, change in changes:
            if change is not None:
                text += f"\n{name}: " + repr(change).replace("\n", "\n" + " " * (len(name) + 2))
        return text


# -- idx --------------------------------------------------------------------------------------------------------------

_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Any) -> Any:
    """The array of an idx file, or of one under gzip. ValueError where header or size is wrong.

    Format: two zero bytes, a byte for the dtype, one for the number of dimensions, their sizes in four bytes each (big
    endian), the numbers.
    """
    data = Path(path).read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is a broken gzip file: {error}") from None
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_DTYPES or not data[3]:
        raise ValueError(f"{path} is no idx file: it begins with {data[:4]!r}")
    start = 4 + 4 * data[3]
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    kind = np.dtype(_IDX_DTYPES[data[2]])
    wanted = start + kind.itemsize * int(np.prod(shape, dtype=object))
    if len(data) != wanted:
        raise ValueError(f"{path}: its header says {shape}, which makes {wanted} bytes, and it has {len(data)}")
    return np.frombuffer(data, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


class MNIST(VisionDataset):
    """Handwritten digits, 28 x 28: 60000 for training, 10000 for tests. `data` (N, 28, 28) uint8, `targets` int64.

    The four idx files lie in `root`/MNIST/raw (or in `root` itself), packed by gzip or not.

    A sample is (image (28, 28) of uint8, label). train: the training data, otherwise the tests'. transform,
    target_transform: functions of image and label. download=True is accepted: where files are missing it says where
    to get them. Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998.
    """

    classes = [
        "0 - zero",
        "1 - one",
        "2 - two",
        "3 - three",
        "4 - four",
        "5 - five",
        "6 - six",
        "7 - seven",
        "8 - eight",
        "9 - nine",
    ]
    origin = "https://yann.lecun.com/exdb/mnist (mirror: https://ossci-datasets.s3.amazonaws.com/mnist)"

    def __init__(
        self,
        root: Any,
        train: bool = True,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        images, labels = (read_idx(path) for path in self._paths())
        if images.ndim != 3 or images.dtype != np.uint8 or labels.ndim != 1 or len(images) != len(labels):
            raise ValueError(
                f"{type(self).__name__}: images of shape {images.shape} and labels of shape {labels.shape} do not "
                "belong together"
            )
        self.data: Tensor = FUNCTIONS["from_numpy"](images)
        self.targets: Tensor = FUNCTIONS["from_numpy"](labels.astype(np.int64))

    def _stem(self) -> str:
        return "train" if self.train else "t10k"

    def _paths(self) -> list[Path]:
        wanted = [f"{self._stem()}-images-idx3-ubyte", f"{self._stem()}-labels-idx1-ubyte"]
        for folder in (Path(self.raw_folder), Path(self.root)):
            found = [next((p for p in (folder / n, folder / f"{n}.gz") if p.is_file()), None) for n in wanted]
            if all(found):
                return [p for p in found if p is not None]
        raise _missing(type(self).__name__, [f"{n}[.gz]" for n in wanted], self.raw_folder, self.origin)

    @property
    def raw_folder(self) -> str:
        """Where the files are looked for first."""
        return os.path.join(self.root, type(self).__name__, "raw")

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The number of each class by its name."""
        return {name: i for i, name in enumerate(self.classes)}

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._sample(self.data.array[index].copy(), int(self.targets.array[index]))

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train is True else 'Test'}"


class FashionMNIST(MNIST):
    """Pictures of clothes in MNIST's form, in `root`/FashionMNIST/raw.

    Arguments as of `MNIST`.

    Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", 2017.
    """

    classes = [
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ]
    origin = "https://github.com/zalandoresearch/fashion-mnist"


class KMNIST(MNIST):
    """Handwritten Japanese characters in MNIST's form, in `root`/KMNIST/raw.

    Arguments as of `MNIST`.

    Source: T. Clanuwat et al., "Deep learning for classical Japanese literature", 2018.
    """

    classes = ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"]
    origin = "https://codh.rois.ac.jp/kmnist"


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = "0123456789"


class EMNIST(MNIST):
    """Handwritten digits and letters in MNIST's form, in `root`/EMNIST/raw; images are transposed, as in the files.

    split: byclass (62 classes), bymerge and balanced (47), letters (labels from 1 on), digits, mnist. Other
    arguments as of `MNIST`.

    Source: G. Cohen, S. Afshar, J. Tapson, A. van Schaik, "EMNIST: extending MNIST to handwritten letters", 2017.
    """

    splits = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
    origin = "https://www.nist.gov/itl/products-and-services/emnist-dataset"
    _merged = sorted(_DIGITS + _LETTERS + "abdefghnqrt")
    classes_split_dict = {
        "byclass": sorted(_DIGITS + _LETTERS + _LETTERS.lower()),
        "bymerge": _merged,
        "balanced": _merged,
        "letters": ["N/A", *_LETTERS.lower()],
        "digits": list(_DIGITS),
        "mnist": list(_DIGITS),
    }

    def __init__(self, root: Any, split: str, train: bool = True, **kwargs: Any) -> None:
        if split not in self.splits:
            raise ValueError(f"Unknown value '{split}' for argument split. Valid values are {self.splits}.")
        self.split = split
        self.classes = self.classes_split_dict[split]
        super().__init__(root, train, **kwargs)

    def _stem(self) -> str:
        return f"emnist-{self.split}-{'train' if self.train else 'test'}"


# -- CIFAR ------------------------------------------------------------------------------------------------------------


class _Array:
    """Stands for numpy.ndarray in a pickle; nothing can be made of it but by `_empty`."""


def _empty(kind: Any, shape: Any, code: Any) -> Any:
    """numpy's _reconstruct, for plain arrays: an empty one, which the pickle's next instruction fills."""
    if kind is not _Array or tuple(shape) != (0,):
        raise pickle.UnpicklingError("an array is made in an unusual way")
    return np.ndarray(shape, np.uint8)


def _dtype(code: str, *flags: Any) -> Any:
    if not isinstance(code, str) or code not in ("u1", "i1", "i2", "i4", "i8", "f4", "f8", "b1"):
        raise pickle.UnpicklingError(f"numbers of dtype {code!r} are not read")
    return np.dtype(code)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r} are not read")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    """Reads containers, numbers, strings and arrays of numbers; refuses whatever else a pickle can name."""

    _names = {
        ("numpy.core.multiarray", "_reconstruct"): _empty,
        ("numpy._core.multiarray", "_reconstruct"): _empty,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _dtype,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._names[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"the file wants {module}.{name}, which no CIFAR file holds: it is broken or made to do harm"
            ) from None


def read_plain_pickle(data: bytes) -> Any:
    """The content of a CIFAR file: containers, numbers, strings, arrays. UnpicklingError for any other name in it."""
    return _Unpickler(io.BytesIO(data), encoding="latin1").load()


class CIFAR10(VisionDataset):
    """Colour images of ten classes, 32 x 32: 50000 for training, 10000 for tests.

    `data` is an array (N, 32, 32, 3) of uint8, `targets` a list. The files lie in `root`/cifar-10-batches-py, or in
    the archive cifar-10-python.tar.gz in `root`, which is read as it is.

    A sample is (image (32, 32, 3) of uint8, label). train, transform, target_transform and download as of `MNIST`.
    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """

    base_folder = "cifar-10-batches-py"
    filename = "cifar-10-python.tar.gz"
    train_list = [f"data_batch_{i}" for i in range(1, 6)]
    test_list = ["test_batch"]
    meta = {"filename": "batches.meta", "key": "label_names"}
    origin = "https://www.cs.toronto.edu/~kriz/cifar.html"

    def __init__(
        self,
        root: Any,
        train: bool = True,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
        download: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.train = train
        names = self.train_list if train else self.test_list
        files = self._files([*names, self.meta["filename"]])
        arrays, self.targets = [], []
        for name in names:
            content = self._content(name, files[name])
            labels = content.get("labels", content.get("fine_labels"))
            data = content.get("data")
            if (
                not isinstance(data, np.ndarray)
                or data.dtype != np.uint8
                or data.shape != (len(labels or ()), 3072)
                or not isinstance(labels, list)
            ):
                raise ValueError(f"{name}: expected data of shape (N, 3072) and N labels")
            arrays.append(data)
            self.targets += labels
        self.data: Any = np.concatenate(arrays).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)  # (N, H, W, C)
        self.classes: list[str] = self._content(self.meta["filename"], files[self.meta["filename"]])[self.meta["key"]]
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}

    @staticmethod
    def _content(name: str, data: bytes) -> dict[str, Any]:
        content = read_plain_pickle(data)
        if not isinstance(content, dict):
            raise ValueError(f"{name}: expected a dictionary, not a {type(content).__name__}")
        return content

    def _files(self, names: list[str]) -> dict[str, bytes]:
        folder, archive = Path(self.root) / self.base_folder, Path(self.root) / self.filename
        if all((folder / n).is_file() for n in names):
            return {n: (folder / n).read_bytes() for n in names}
        found: dict[str, bytes] = {}
        if archive.is_file():
            with tarfile.open(archive) as members:
                for member in members:
                    if member.isfile() and Path(member.name).name in names:
                        opened = members.extractfile(member)
                        assert opened is not None
                        found[Path(member.name).name] = opened.read()
        if len(found) < len(names):
            raise _missing(type(self).__name__, names, f"{folder} (or {self.filename} in {self.root})", self.origin)
        return found

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self._sample(np.ascontiguousarray(self.data[index]), self.targets[index])

    def __len__(self) -> int:
        return len(self.data)

    def extra_repr(self) -> str:
        return f"Split: {'Train' if self.train is True else 'Test'}"


class CIFAR100(CIFAR10):
    """Colour images of a hundred classes, in `root`/cifar-100-python or cifar-100-python.tar.gz.

    Arguments as of `CIFAR10`.

    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """

    base_folder = "cifar-100-python"
    filename = "cifar-100-python.tar.gz"
    train_list = ["train"]
    test_list = ["test"]
    meta = {"filename": "meta", "key": "fine_label_names"}


# -- folders ----------------------------------------------------------------------------------------------------------

IMG_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def default_loader(path: Any) -> Any:
    """A file as a Pillow image in RGB."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("reading image files needs the package pillow: pip install chainrule[images]") from None
    with open(path, "rb") as file, Image.open(file) as img:
        return img.convert("RGB")


class DatasetFolder(VisionDataset):
    """Files in one folder per class: `root`/class/.../file. A sample is what `loader(path)` gives.

    extensions: those of the files that count, or is_valid_file(path) says so. `classes` are the folders' names in
    order, `samples` (path, number of the class) in order of the paths. A class without files is an error unless
    `allow_empty`. transform, target_transform: functions of what `loader` gives and of the number.
    """

    def __init__(
        self,
        root: Any,
        loader: Callable[[str], Any],
        extensions: tuple[str, ...] | None = None,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        super().__init__(root, transform=transform, target_transform=target_transform)
        self.classes, self.class_to_idx = self.find_classes(self.root)
        self.loader = loader
        self.extensions = extensions
        self.samples = self.make_dataset(self.root, self.class_to_idx, extensions, is_valid_file, allow_empty)
        self.targets = [target for _, target in self.samples]

    def find_classes(self, directory: Any) -> tuple[list[str], dict[str, int]]:
        """The names of the folders in order, and their numbers. FileNotFoundError where there is none."""
        names = sorted(entry.name for entry in os.scandir(directory) if entry.is_dir())
        if not names:
            raise FileNotFoundError(f"Couldn't find any class folder in {directory}.")
        return names, {name: i for i, name in enumerate(names)}

    @staticmethod
    def make_dataset(
        directory: Any,
        class_to_idx: dict[str, int],
        extensions: tuple[str, ...] | str | None = None,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> list[tuple[str, int]]:
        """(path, number of the class) of each file that counts."""
        if (extensions is None) == (is_valid_file is None):
            raise ValueError("Both extensions and is_valid_file cannot be None or not None at the same time")
        ends = tuple(e.lower() for e in ([extensions] if isinstance(extensions, str) else extensions or ()))
        valid = is_valid_file or (lambda path: path.lower().endswith(ends))
        found: list[tuple[str, int]] = []
        empty = []
        for name in sorted(class_to_idx):
            before = len(found)
            for folder, _, files in sorted(os.walk(os.path.join(directory, name), followlinks=True)):
                paths = [os.path.join(folder, file) for file in sorted(files)]
                found += [(path, class_to_idx[name]) for path in paths if valid(path)]
            if len(found) == before:
                empty.append(name)
        if empty and not allow_empty:
            wanted = f" Supported extensions are: {', '.join(ends)}" if ends else ""
            raise FileNotFoundError(f"Found no valid file for the classes {', '.join(empty)}.{wanted}")
        return found

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        path, target = self.samples[index]
        return self._sample(self.loader(path), target)

    def __len__(self) -> int:
        return len(self.samples)


class ImageFolder(DatasetFolder):
    """Images in one folder per class: `root`/class/.../picture.png, as Pillow images in RGB.

    Other arguments as of `DatasetFolder`.
    """

    def __init__(
        self,
        root: Any,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
        loader: Callable[[str], Any] = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = False,
    ) -> None:
        extensions = IMG_EXTENSIONS if is_valid_file is None else None
        super().__init__(root, loader, extensions, transform, target_transform, is_valid_file, allow_empty)
        self.imgs = self.samples


class FakeData(VisionDataset):
    """Random images with random classes, the same for the same index: arrays (H, W, C) of uint8, or (H, W).

    image_size is (C, H, W); sample i is drawn from a generator of the seed i + random_offset. size: how many.
    num_classes: classes are 0 to num_classes - 1. The other arguments as of `MNIST`.
    """

    def __init__(
        self,
        size: int = 1000,
        image_size: tuple[int, ...] = (3, 224, 224),
        num_classes: int = 10,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
        random_offset: int = 0,
    ) -> None:
        super().__init__(None, transform=transform, target_transform=target_transform)
        self.size, self.image_size, self.num_classes = size, image_size, num_classes
        self.random_offset = random_offset

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"{type(self).__name__} index out of range")
        source = Generator().manual_seed(index + self.random_offset).source
        img = np.moveaxis(source.integers(0, 256, tuple(self.image_size)).astype(np.uint8), 0, -1)
        target = int(source.integers(0, self.num_classes, ()))
        return self._sample(np.ascontiguousarray(img[:, :, 0] if img.shape[2] == 1 else img), target)

    def __len__(self) -> int:
        return self.size
