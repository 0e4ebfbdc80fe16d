"""utils.data.datasets: readers of idx files, CIFAR's pickles and folders of images, on files that the tests write."""

import gzip
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest

import chainrule
from chainrule.utils.data import DataLoader, datasets, transforms

GENERATOR = np.random.default_rng(0)


def idx(array, code=0x08):
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def digits():
    return {
        s: (GENERATOR.integers(0, 256, (n, 28, 28), dtype=np.uint8), np.arange(n, dtype=np.uint8) % 10)
        for s, n in (("train", 12), ("t10k", 5))
    }


def write_digits(folder, digits, packed=False, prefix=None):
    folder.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in digits.items():
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            data = idx(array)
            name = f"{prefix or ''}{split}-{kind}-ubyte"
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("reader", [datasets.MNIST, datasets.FashionMNIST, datasets.KMNIST])
def test_mnist(reader, packed, digits, tmp_path):
    write_digits(tmp_path / reader.__name__ / "raw", digits, packed)
    train, test = reader(tmp_path), reader(str(tmp_path), train=False, download=True)
    assert (len(train), len(test)) == (12, 5)
    assert np.array_equal(train.data.numpy(), digits["train"][0])
    assert (train.data.dtype, train.targets.dtype) == (chainrule.uint8, chainrule.int64)
    img, label = test[3]
    assert (img.shape, img.dtype, label) == ((28, 28), np.uint8, 3)
    img[:] = 0
    assert test[3][0].any()  # a copy
    assert len(train.classes) == 10
    assert train.class_to_idx[train.classes[4]] == 4
    with pytest.raises(IndexError):
        test[5]


def test_mnist_in_a_program(digits, tmp_path):
    write_digits(tmp_path, digits)  # in the root itself
    change = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    data = datasets.MNIST(tmp_path, train=True, transform=change, target_transform=lambda y: y * 2)
    x, y = next(iter(DataLoader(data, batch_size=4)))
    assert x.shape == (4, 1, 28, 28)
    assert x.dtype == chainrule.float32
    assert np.allclose(x[1, 0].numpy(), (digits["train"][0][1] / 255 - 0.1307) / 0.3081, atol=1e-5)
    assert y.tolist() == [0, 2, 4, 6]
    text = repr(data)
    assert text.startswith("Dataset MNIST\n    Number of datapoints: 12\n    Root location: ")
    assert "\n    Split: Train\n    StandardTransform\nTransform: Compose(" in text


def test_emnist(digits, tmp_path):
    write_digits(tmp_path / "EMNIST" / "raw", {"train": digits["train"]}, prefix="emnist-letters-")
    data = datasets.EMNIST(tmp_path, "letters")
    assert data.classes[1] == "a"
    assert len(data) == 12
    assert [len(datasets.EMNIST.classes_split_dict[s]) for s in datasets.EMNIST.splits] == [62, 47, 47, 27, 10, 10]
    with pytest.raises(ValueError, match="Unknown value 'x' for argument split"):
        datasets.EMNIST(tmp_path, "x")


@pytest.mark.parametrize("download", [False, True])
def test_missing_files_are_named(download, tmp_path):
    with pytest.raises(RuntimeError, match=r"Dataset not found.*train-images-idx3-ubyte.*MNIST/raw.*https://"):
        datasets.MNIST(tmp_path, download=download)
    with pytest.raises(FileNotFoundError, match=r"data_batch_1.*cifar-10-python\.tar\.gz.*https://"):
        datasets.CIFAR10(tmp_path, download=download)


def test_idx_files_are_checked(tmp_path):
    path = tmp_path / "file"
    for code, kind in ((0x08, "u1"), (0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")):
        want = np.arange(-3, 3).astype(kind).reshape(2, 3)
        path.write_bytes(idx(want, code))
        got = datasets.read_idx(path)
        assert np.array_equal(got, want)
        assert got.dtype.isnative
    good = idx(np.arange(6, dtype=np.uint8).reshape(2, 3))
    for data, message in (
        (b"", "is no idx file"),
        (b"\x00\x01" + good[2:], "is no idx file"),
        (b"\x00\x00\x07" + good[3:], "is no idx file"),
        (good[:-1], r"its header says \(2, 3\), which makes 18 bytes, and it has 17"),
        (good + b"x", "and it has 19"),
        (good[:6], "and it has 6"),
        (gzip.compress(good)[:-5], "broken gzip file"),
        (idx(np.zeros((2**16, 2**16, 0), np.uint8))[:12] + b"\xff" * 4, "which makes"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            datasets.read_idx(path)


def test_images_and_labels_belong_together(digits, tmp_path):
    write_digits(tmp_path, {"train": (digits["train"][0], digits["train"][1][:-1])})
    with pytest.raises(ValueError, match="do not belong together"):
        datasets.MNIST(tmp_path)


# -- CIFAR ------------------------------------------------------------------------------------------------------------


def write_cifar(folder, protocol=2):
    folder.mkdir(parents=True)
    rows = GENERATOR.integers(0, 256, (18, 3072), dtype=np.uint8)
    for i, name in enumerate([*datasets.CIFAR10.train_list, "test_batch"]):
        content = {"data": rows[3 * i : 3 * i + 3], "labels": [i, i + 1, i + 2], "batch_label": b"x"}
        (folder / name).write_bytes(pickle.dumps(content, protocol))
    names = {"label_names": [f"class {i}" for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol))
    return rows


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_cifar10(protocol, tmp_path):
    rows = write_cifar(tmp_path / "cifar-10-batches-py", protocol)
    train, test = datasets.CIFAR10(tmp_path), datasets.CIFAR10(tmp_path, train=False)
    assert (len(train), len(test)) == (15, 3)
    assert train.data.shape == (15, 32, 32, 3)
    assert np.array_equal(train[4][0], rows[4].reshape(3, 32, 32).transpose(1, 2, 0))
    assert (train[4][1], train.targets[:4], test.targets) == (2, [0, 1, 2, 1], [5, 6, 7])
    assert train.class_to_idx["class 7"] == 7
    x, _ = datasets.CIFAR10(tmp_path, transform=transforms.ToTensor())[0]
    assert np.allclose(x.numpy(), rows[0].reshape(3, 32, 32) / 255)


def test_cifar_from_the_archive(tmp_path):
    rows = write_cifar(tmp_path / "made" / "cifar-10-batches-py")
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    data = datasets.CIFAR10(tmp_path, train=False)
    assert np.array_equal(data[0][0], rows[15].reshape(3, 32, 32).transpose(1, 2, 0))
    assert not (tmp_path / "cifar-10-batches-py").exists()


def test_cifar100_as_python_2_wrote_it(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    raw = bytes(range(256)) * 12
    # a protocol 2 pickle by Python 2: keys and raw data are str, and the module is numpy's of old
    data = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01M\x00\x0c\x86"
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", len(raw))
        + raw
        + b"tbU\x0bfine_labels](K\x07eU\rcoarse_labels](K\x01eu."
    )
    for name in ("train", "test"):
        (folder / name).write_bytes(data)
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": ["a"] * 100}, 2))
    got = datasets.CIFAR100(tmp_path)
    assert got.targets == [7]
    assert got.data[0].transpose(2, 0, 1).tobytes() == raw


class Harm:
    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        (os.system, ("touch harmed",)),
        (eval, ("open('harmed', 'w')",)),
        (getattr, ("", "join")),
        (np.load, ("harmed",)),
        (np.dtype, ("O",)),
        (np._core.multiarray._reconstruct, (np.ndarray, (2**40,), b"b")),
        (np.ndarray, ((2**40,),)),
    ],
    ids=lambda call: call[0].__name__,
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_harmful_pickles_are_refused(call, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cifar(tmp_path / "cifar-10-batches-py")
    harmful = pickle.dumps({"data": Harm(*call), "labels": []}, protocol)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(harmful)
    with pytest.raises((pickle.UnpicklingError, TypeError)):
        datasets.CIFAR10(tmp_path, train=False)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    "content",
    [
        [1],
        {"data": np.zeros((2, 3072), np.float32), "labels": [1, 2]},
        {"labels": [1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1]},
    ],
)
def test_cifar_content_is_checked(content, tmp_path):
    write_cifar(tmp_path / "cifar-10-batches-py")
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(ValueError, match="test_batch: expected"):
        datasets.CIFAR10(tmp_path, train=False)


# -- folders ----------------------------------------------------------------------------------------------------------


def test_image_folder(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name, value in (("cat/a.png", 10), ("cat/deeper/b.PNG", 20), ("dog/c.png", 30), ("dog/readme.txt", None)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if value is None:
            path.write_text("no picture")
        else:
            image.fromarray(np.full((4, 6), value, np.uint8)).save(path, format="png")
    data = datasets.ImageFolder(tmp_path, transform=transforms.Compose([transforms.Resize(2), transforms.ToTensor()]))
    assert data.classes == ["cat", "dog"]
    assert [os.path.basename(p) for p, _ in data.imgs] == ["a.png", "b.PNG", "c.png"]
    assert data.targets == [0, 0, 1]
    x, y = next(iter(DataLoader(data, 3)))
    assert x.shape == (3, 3, 2, 3)
    assert (x[:, 0, 0, 0] * 255).round().tolist() == [10, 20, 30]
    assert y.tolist() == [0, 0, 1]
    assert datasets.ImageFolder(tmp_path)[0][0].mode == "RGB"
    only = datasets.ImageFolder(tmp_path, is_valid_file=lambda p: p.endswith(("a.png", "c.png")))
    assert len(only) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="Found no valid file for the classes empty"):
        datasets.ImageFolder(tmp_path)
    assert len(datasets.ImageFolder(tmp_path, allow_empty=True).classes) == 3


def test_dataset_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="Couldn't find any class folder"):
        datasets.DatasetFolder(tmp_path, np.load, (".npy",))
    (tmp_path / "k").mkdir()
    np.save(tmp_path / "k" / "x.npy", np.arange(3))
    data = datasets.DatasetFolder(str(tmp_path), np.load, (".npy",), target_transform=lambda y: y + 5)
    assert data[0][0].tolist() == [0, 1, 2]
    assert data[0][1] == 5
    with pytest.raises(ValueError, match="Both extensions and is_valid_file"):
        datasets.DatasetFolder(str(tmp_path), np.load)


def test_fake_data():
    data = datasets.FakeData(5, (3, 8, 9), num_classes=4, transform=transforms.ToTensor())
    chainrule.manual_seed(0)
    x, y = data[2]
    assert x.shape == (3, 8, 9)
    assert 0 <= y < 4
    assert np.array_equal(data[2][0].numpy(), x.numpy())
    assert not np.array_equal(data[3][0].numpy(), x.numpy())
    assert np.array_equal(
        datasets.FakeData(5, (3, 8, 9), 4, transforms.ToTensor(), random_offset=1)[1][0].numpy(), x.numpy()
    )
    assert datasets.FakeData(1, (1, 4, 4))[0][0].shape == (4, 4)
    with pytest.raises(IndexError):
        data[5]
