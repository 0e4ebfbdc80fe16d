"""utils.data.transforms: images of all kinds, against Pillow, SciPy and formulas."""

import itertools
import pickle

import numpy as np
import pytest

import chainrule
from chainrule.utils.data import DataLoader, Dataset, transforms
from chainrule.utils.data.transforms import functional as F

Image = pytest.importorskip("PIL.Image")
GENERATOR = np.random.default_rng(0)
SMOOTH = np.add.outer(np.add.outer(np.arange(23) * 6, np.arange(17) * 5), np.arange(3) * 9).astype(np.uint8)
NOISE = GENERATOR.integers(0, 256, (23, 17, 3), dtype=np.uint8)


def chw(img):
    """The pixels of any image as an array (C, H, W)."""
    if isinstance(img, chainrule.Tensor):
        return img.numpy() if img.ndim == 3 else img.numpy()[None]
    array = np.asarray(img)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def kinds(array):
    """The same image as an array, a Pillow image, and a tensor."""
    return array, Image.fromarray(array), chainrule.tensor(np.ascontiguousarray(chw(array)))


DETERMINISTIC = {
    "resize": lambda x: F.resize(x, (9, 31)),
    "resize shorter side": lambda x: F.resize(x, 8),
    "pad": lambda x: F.pad(x, [1, 2, 3, 4], fill=7),
    "pad reflected": lambda x: F.pad(x, 3, padding_mode="reflect"),
    "crop beyond": lambda x: F.crop(x, -2, 10, 9, 12),
    "center_crop": lambda x: F.center_crop(x, (10, 30)),
    "hflip": F.hflip,
    "vflip": F.vflip,
    "rotate": lambda x: F.rotate(x, 30, F.InterpolationMode.BILINEAR),
    "affine": lambda x: F.affine(x, 10, (2, 1), 1.2, (5, 3)),
    "perspective": lambda x: F.perspective(
        x, [[0, 0], [16, 0], [16, 22], [0, 22]], [[1, 2], [15, 0], [16, 20], [0, 22]]
    ),
    "blur": lambda x: F.gaussian_blur(x, (5, 3), (1.0, 0.5)),
    "brightness": lambda x: F.adjust_brightness(x, 1.4),
    "contrast": lambda x: F.adjust_contrast(x, 0.4),
    "saturation": lambda x: F.adjust_saturation(x, 1.8),
    "hue": lambda x: F.adjust_hue(x, 0.2),
    "gamma": lambda x: F.adjust_gamma(x, 0.7),
    "sharpness": lambda x: F.adjust_sharpness(x, 2),
    "gray": lambda x: F.rgb_to_grayscale(x, 3),
    "one gray": F.rgb_to_grayscale,
    "invert": F.invert,
    "posterize": lambda x: F.posterize(x, 3),
    "solarize": lambda x: F.solarize(x, 100),
    "autocontrast": F.autocontrast,
    "equalize": F.equalize,
}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_arrays_pillow_images_and_tensors_alike(name):
    change = DETERMINISTIC[name]
    results = [change(x) for x in kinds(NOISE)]
    assert [isinstance(r, t) for r, t in zip(results, (np.ndarray, Image.Image, chainrule.Tensor))] == [True] * 3
    for r in results[1:]:
        off = 1 if name.startswith("resize") and isinstance(r, Image.Image) else 0  # Pillow computes with 8 bits
        assert chw(r).dtype == np.uint8
        assert abs(chw(r).astype(int) - chw(results[0])).max() <= off
    small = change(chainrule.tensor(np.ascontiguousarray(chw(NOISE)))[None].repeat(2, 1, 1, 1))  # a batch
    assert np.array_equal(small[1].numpy(), chw(results[0]))


@pytest.mark.parametrize("size", [(9, 31), (40, 17), (5, 5)])
@pytest.mark.parametrize(
    ("mode", "pillows"), [("NEAREST", 0), ("BILINEAR", 2), ("BICUBIC", 3), ("LANCZOS", 1), ("BOX", 4)]
)
def test_resize_is_pillows(size, mode, pillows):
    want = np.asarray(Image.fromarray(NOISE).resize(size[::-1], pillows)).astype(int)
    got = F.resize(NOISE, size, F.InterpolationMode[mode])
    assert abs(got.astype(int) - want).max() <= 1  # Pillow computes with 8 bits


@pytest.mark.parametrize(
    ("h", "w", "size", "want"), [(23, 17, 8, (10, 8)), (17, 23, 8, (8, 10)), (17, 23, [4], (4, 5))]
)
def test_resize_keeps_the_ratio(h, w, size, want):
    assert F.resize(chainrule.zeros(1, h, w), size).shape[1:] == want
    assert F.resize(chainrule.zeros(1, 20, 40), 15, max_size=20).shape[1:] == (10, 20)
    with pytest.raises(ValueError, match="max_size"):
        F.resize(chainrule.zeros(1, 4, 4), (2, 2), max_size=3)


@pytest.mark.parametrize("angle", [33, -120])
@pytest.mark.parametrize("expand", [False, True])
def test_rotate_is_pillows(angle, expand):
    want = np.asarray(Image.fromarray(SMOOTH).rotate(angle, 0, expand))
    got = F.rotate(SMOOTH, angle, expand=expand)
    assert got.shape == want.shape
    assert (got == want).mean() > 0.95  # where a point lies between two pixels either may be taken


def test_quarter_turns():
    for turns in range(4):
        assert np.array_equal(F.rotate(NOISE, 90 * turns, expand=True), np.rot90(NOISE, turns))


def test_affine_parts():
    x = np.zeros((9, 9), np.uint8)
    x[4, 4] = 255
    assert F.affine(x, 0, (2, -1), 1.0, 0)[3, 6] == 255  # translation: x to the right, y down
    line = np.zeros((9, 9), np.uint8)
    line[4] = 255
    assert np.array_equal(F.affine(line, 90, (0, 0), 1.0, 0), line.T)
    assert F.affine(line, 0, (0, 0), 3.0, 0)[3:6].all()
    corner = np.zeros((9, 9), np.uint8)
    corner[1, 7] = 255
    assert F.affine(corner, 90, (0, 0), 1.0, 0)[7, 7] == 255  # clockwise
    assert F.rotate(corner, 90)[1, 1] == 255  # counter-clockwise
    assert F.rotate(x, 10, fill=9)[0, 0] == 9
    with pytest.raises(ValueError, match="scale should be positive"):
        F.affine(x, 0, (0, 0), 0, 0)


def test_blur_against_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    x = GENERATOR.random((1, 20, 15)).astype(np.float32)
    got = F.gaussian_blur(chainrule.tensor(x), (9, 9), 1.0).numpy()
    assert np.allclose(got[0], ndimage.gaussian_filter(x[0], 1.0, mode="mirror", radius=4), atol=1e-6)


def test_elastic_against_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    x = GENERATOR.random((12, 10)).astype(np.float32)
    moves = (GENERATOR.random((1, 12, 10, 2)) - 0.5) * 0.3
    y, z = np.meshgrid(np.arange(12), np.arange(10), indexing="ij")
    where = [y + moves[0, ..., 1] * 6, z + moves[0, ..., 0] * 5]
    want = ndimage.map_coordinates(np.pad(x, 1), [w + 1 for w in where], order=1)
    assert np.allclose(F.elastic_transform(x, moves), want, atol=1e-5)
    chainrule.manual_seed(0)
    wild = transforms.ElasticTransform(alpha=60.0, sigma=1.0)
    assert not np.array_equal(wild(x), x)
    assert np.array_equal(transforms.ElasticTransform(alpha=0.0, sigma=1.0)(x), x)


def test_to_tensor():
    t = transforms.ToTensor()
    assert np.array_equal(t(NOISE).numpy(), NOISE.transpose(2, 0, 1) / np.float32(255))
    assert t(NOISE).dtype == chainrule.float32
    assert t(NOISE[:, :, 0]).shape == (1, 23, 17)
    assert t(np.ones((2, 2), np.float64)).dtype == chainrule.float64
    for mode in ("L", "RGB", "RGBA", "1", "I", "F"):
        img = Image.fromarray(NOISE).convert(mode)
        assert t(img).shape == (len(img.getbands()), 23, 17)
    assert t(Image.fromarray(NOISE).convert("1")).unique().tolist() == [0, 1]
    with pytest.raises(TypeError, match="pic should be PIL Image or ndarray"):
        t(chainrule.zeros(1, 2, 2))
    back = transforms.ToPILImage()(t(NOISE))
    assert np.array_equal(np.asarray(back), NOISE)
    assert transforms.ToPILImage()(chainrule.zeros(1, 4, 4)).mode == "L"
    assert transforms.PILToTensor()(Image.fromarray(NOISE)).dtype == chainrule.uint8


def test_convert_image_dtype():
    x = chainrule.tensor([[[0, 255]]], dtype=chainrule.uint8)
    assert F.convert_image_dtype(x, chainrule.float32).tolist() == [[[0, 1]]]
    assert F.convert_image_dtype(chainrule.tensor([[[0.0, 1.0]]]), chainrule.uint8).tolist() == [[[0, 255]]]
    assert F.convert_image_dtype(x, chainrule.int16).tolist() == [[[0, 255 * 128]]]
    with pytest.raises(RuntimeError, match="cannot be performed safely"):
        F.convert_image_dtype(chainrule.ones(1, 1, 1), chainrule.int32)


def test_normalize():
    x = chainrule.rand(3, 4, 5)
    n = transforms.Normalize((0.1, 0.2, 0.3), (1, 2, 4))
    want = (x.numpy() - np.array([0.1, 0.2, 0.3], np.float32)[:, None, None]) / np.array([1, 2, 4])[:, None, None]
    assert np.allclose(n(x).numpy(), want)
    assert np.allclose(n(np.ascontiguousarray(x.numpy().transpose(1, 2, 0))).transpose(2, 0, 1), want)
    w = x.clone().requires_grad_()
    n(w).sum().backward()
    assert np.allclose(w.grad.numpy()[:, 0, 0], [1, 0.5, 0.25])
    y = x.clone()
    assert transforms.Normalize((0.1, 0.2, 0.3), (1, 2, 4), inplace=True)(y) is y
    assert np.allclose(y.numpy(), want)
    with pytest.raises(TypeError, match="should be a float tensor"):
        n(x.to(chainrule.uint8))
    with pytest.raises(ValueError, match="std evaluated to zero"):
        transforms.Normalize((0.0,), (0.0,))(x)


RANDOM = {
    "RandomCrop": lambda: transforms.RandomCrop(15, padding=2),
    "RandomCrop needed": lambda: transforms.RandomCrop(30, pad_if_needed=True),
    "RandomResizedCrop": lambda: transforms.RandomResizedCrop(12),
    "RandomHorizontalFlip": lambda: transforms.RandomHorizontalFlip(),
    "RandomVerticalFlip": lambda: transforms.RandomVerticalFlip(),
    "RandomRotation": lambda: transforms.RandomRotation(40),
    "RandomAffine": lambda: transforms.RandomAffine(10, (0.2, 0.1), (0.8, 1.2), 5),
    "RandomPerspective": lambda: transforms.RandomPerspective(),
    "ElasticTransform": lambda: transforms.ElasticTransform(sigma=1.0),
    "RandomResolution": lambda: transforms.RandomResolution((0.2, 0.5)),
    "ColorJitter": lambda: transforms.ColorJitter(0.4, 0.4, 0.4, 0.1),
    "GaussianBlur": lambda: transforms.GaussianBlur(3),
    "GaussianNoise": lambda: transforms.GaussianNoise(),
    "RandomGrayscale": lambda: transforms.RandomGrayscale(0.5),
    "Cutout": lambda: transforms.Cutout(2, 5),
    "RandomErasing": lambda: transforms.RandomErasing(),
    "RandomInvert": lambda: transforms.RandomInvert(),
    "RandomPosterize": lambda: transforms.RandomPosterize(2),
    "RandomSolarize": lambda: transforms.RandomSolarize(100),
    "RandomAdjustSharpness": lambda: transforms.RandomAdjustSharpness(3),
    "RandomAutocontrast": lambda: transforms.RandomAutocontrast(),
    "RandomEqualize": lambda: transforms.RandomEqualize(),
    "RandomApply": lambda: transforms.RandomApply([F.invert]),
    "RandomChoice": lambda: transforms.RandomChoice([F.invert, F.hflip], p=[1, 3]),
    "RandAugment": lambda: transforms.RandAugment(fill=7),
    "TrivialAugmentWide": lambda: transforms.TrivialAugmentWide(),
    "RandomOrder": lambda: transforms.RandomOrder([F.hflip, lambda x: F.pad(x, [1, 0, 0, 0])]),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_transforms_repeat_and_vary(name):
    change = RANDOM[name]()
    img = (SMOOTH // 2 + NOISE // 4).astype(np.uint8)

    def draws(seed, x):
        chainrule.manual_seed(seed)
        return [chw(change(x)) for _ in range(8)]

    first = draws(1, img)
    assert all(np.array_equal(a, b) for a, b in zip(first, draws(1, img)))
    assert any(a.shape != b.shape or not np.array_equal(a, b) for a, b in itertools.pairwise(first))
    off = 2 if "Res" in name else 0  # Pillow resizes with 8 bits
    for x in kinds(img)[1:]:
        assert all(abs(a.astype(int) - b).max() <= off for a, b in zip(first, draws(1, x)))
    assert type(pickle.loads(pickle.dumps(change))) is type(change) if name != "RandomOrder" else True
    assert type(change).__name__ in repr(change)


def test_probabilities():
    chainrule.manual_seed(0)
    x = np.arange(2, dtype=np.uint8)[None]
    for change, p in (
        (transforms.RandomHorizontalFlip(0.3), 0.3),
        (transforms.RandomChoice([F.hflip, lambda x: x], p=[1, 4]), 0.2),
        (transforms.RandomApply([F.hflip], p=0.9), 0.9),
    ):
        assert abs(np.mean([change(x)[0, 0] for _ in range(1000)]) - p) < 0.05


def test_random_crops_reach_every_place():
    chainrule.manual_seed(0)
    x = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert {transforms.RandomCrop(3)(x)[0, 0] for _ in range(200)} == {0, 1, 2, 5, 6, 7}
    with pytest.raises(ValueError, match="larger than input image size"):
        transforms.RandomCrop(6)(x)
    for _ in range(50):
        _, _, h, w = transforms.RandomResizedCrop.get_params(chainrule.zeros(3, 50, 60), (0.1, 0.5), (0.5, 2))
        assert 0.08 * 3000 < h * w < 0.54 * 3000
        assert 0.4 < w / h < 2.3


def test_crops_of_five_and_ten():
    x = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert [c[0, 0] for c in transforms.FiveCrop(2)(x)] == [0, 3, 10, 13, 7]
    assert len(transforms.TenCrop(2)(x)) == 10


def test_erased_parts():
    chainrule.manual_seed(0)
    x = chainrule.ones(3, 20, 20)
    gone = (transforms.RandomErasing(p=1.0, scale=(0.2, 0.2), ratio=(1, 1))(x) == 0).sum().item()
    assert gone == 3 * 81
    assert x.sum() == 1200
    assert transforms.RandomErasing(p=1.0, value="random")(x).unique().numel() > 20
    assert sorted((transforms.Cutout(1, 4)(x) == 0).sum().item() // 3 for _ in range(50))[-1] == 16


def test_noise_has_its_deviation():
    chainrule.manual_seed(0)
    x = chainrule.full((3, 40, 40), 0.5)
    noisy = transforms.GaussianNoise(sigma=0.1)(x)
    assert abs(noisy.std().item() - 0.1) < 0.01
    assert transforms.GaussianNoise(sigma=9.0)(x).max() <= 1
    assert transforms.GaussianNoise(sigma=9.0, clip=False)(x).max() > 1


def test_gradients_are_kept_or_refused():
    x = chainrule.rand(3, 8, 8, requires_grad=True)
    F.hflip(F.crop(x, 1, 1, 4, 4)).sum().backward()
    assert x.grad.sum() == 48
    with pytest.raises(NotImplementedError, match="no gradients"):
        F.rotate(x, 10)


def test_compose():
    t = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,)), transforms.Lambda(abs)])
    assert t(NOISE[:, :, 0]).max() <= 1
    assert repr(t) == "Compose(\n    ToTensor()\n    Normalize(mean=(0.5,), std=(0.5,))\n    Lambda()\n)"
    with pytest.raises(TypeError, match="lambd should be callable"):
        transforms.Lambda(3)
    layers = chainrule.nn.Sequential(transforms.CenterCrop(4), transforms.RandomHorizontalFlip())
    assert layers(chainrule.zeros(3, 8, 8)).shape == (3, 4, 4)


def test_every_change_of_the_policies():
    for name, change in transforms.policies._CHANGES.items():
        weak = change(NOISE, 8.0 if name == "Posterize" else 256.0 if name == "Solarize" else 0.0, {})
        if name not in ("AutoContrast", "Equalize"):
            assert np.array_equal(weak, NOISE), name
        strong = change(NOISE // 2, {"Posterize": 3.0, "Rotate": 20.0}.get(name, 3.0 if "Trans" in name else 0.5), {})
        assert strong.shape == NOISE.shape
        assert np.array_equal(strong, NOISE // 2) == (name == "Identity"), name
    assert np.array_equal(transforms.policies._CHANGES["TranslateX"](NOISE, 3.0, {})[:, 3:], NOISE[:, :-3])


def test_v2():
    from chainrule.utils.data.transforms import v2

    t = v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(p=1), v2.ToDtype(chainrule.float32, scale=True)])
    assert np.allclose(t(NOISE).numpy(), chw(NOISE)[:, :, ::-1] / 255)
    assert t(NOISE).dtype == chainrule.float32
    assert v2.ToDtype(chainrule.float32)(v2.ToImage()(NOISE)).max() > 1
    assert transforms.v2 is v2


class Noisy(Dataset):
    def __init__(self):
        self.change = transforms.GaussianNoise()

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return self.change(chainrule.full((1, 2, 2), 0.5))


def test_workers_draw_their_own():
    def drawn():
        chainrule.manual_seed(5)
        return np.concatenate([b.numpy() for b in DataLoader(Noisy(), 2, num_workers=2)])

    first = drawn()
    assert np.array_equal(first, drawn())
    assert len(np.unique(first)) == 16


# -- batches and statistics -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixture", [transforms.MixUp, transforms.CutMix])
def test_mixtures(mixture):
    chainrule.manual_seed(1)
    x = chainrule.arange(4.0).reshape(4, 1, 1, 1).expand(4, 2, 10, 10).clone()
    y = chainrule.tensor([0, 1, 2, 0])
    for _ in range(5):
        a, b = mixture(alpha=1.0, num_classes=3)(x, y)
        assert a.shape == x.shape
        assert b.shape == (4, 3)
        assert np.allclose(b.sum(1).numpy(), 1)
        share = b[1, 1].item()  # sample 1 is mixed with sample 0
        assert np.isclose(a[1].mean().item(), share, atol=1e-5)
    assert chainrule.nn.functional.cross_entropy(chainrule.randn(4, 3), b).ndim == 0
    with pytest.raises(ValueError, match="num_classes"):
        mixture()(x, y)


def test_standardize_knows_training_data_alone():
    train = GENERATOR.normal(3, 2, (50, 4)).astype(np.float32)
    test = GENERATOR.normal(30, 7, (20, 4)).astype(np.float32)
    scale = transforms.Standardize().fit(train)
    before = scale.mean.copy(), scale.std.copy()
    assert np.allclose(scale(train).mean(0), 0, atol=1e-5)
    assert np.allclose(scale(train).std(0), 1, atol=1e-5)
    assert np.allclose(scale(test), (test - train.mean(0)) / train.std(0), rtol=1e-4)
    assert np.array_equal(before, (scale.mean, scale.std))
    other = transforms.Standardize().fit(train)
    other(test * 100)
    assert np.array_equal(other(train), scale(train))  # what was transformed has left no trace
    assert np.allclose(scale.inverse(scale(chainrule.tensor(test))).numpy(), test, rtol=1e-4)
    with pytest.raises(RuntimeError, match="fit"):
        transforms.Standardize()(test)


def test_standardize_images_and_data_sets():
    x = GENERATOR.normal(1, 2, (6, 3, 4, 5)).astype(np.float32)
    whole = transforms.Standardize().fit(x)
    assert whole.mean.shape == (3, 1, 1)
    one_by_one = transforms.Standardize((0, 2, 3)).fit([(chainrule.tensor(s), 0) for s in x])
    assert np.allclose(whole.mean, one_by_one.mean, atol=1e-6)
    assert np.allclose(whole.std, one_by_one.std, atol=1e-6)
    n = transforms.fit_normalize([(chainrule.tensor(s), 0) for s in x])
    assert np.allclose(
        n(chainrule.tensor(x)).numpy(),
        (x - x.mean((0, 2, 3), keepdims=True)) / x.std((0, 2, 3), keepdims=True),
        atol=1e-5,
    )
    assert np.array_equal(transforms.Standardize().fit(np.ones((3, 1)))(np.ones((1, 1))), [[0]])
    with pytest.raises(ValueError, match=r"shape \(4, 5\) are no images \(C, H, W\)"):
        transforms.fit_normalize(x[:, 0])


def test_smote():
    chainrule.manual_seed(0)
    x = np.concatenate([GENERATOR.normal(0, 1, (30, 2)), GENERATOR.uniform(5, 6, (4, 2))])
    y = np.array([0] * 30 + [1] * 4)
    a, b = transforms.smote(x, y, k=2)
    assert a.shape == (60, 2)
    assert np.bincount(b.numpy()).tolist() == [30, 30]
    assert np.array_equal(a.numpy()[:34], x)
    new = a.numpy()[34:]
    assert ((new >= x[30:].min(0)) & (new <= x[30:].max(0))).all()
    minority = x[30:]
    for point in new:  # on a line between two samples
        gaps = [
            abs(np.linalg.norm(point - p) + np.linalg.norm(point - q) - np.linalg.norm(p - q))
            for p in minority
            for q in minority
        ]
        assert min(gaps) < 1e-9
    with pytest.raises(ValueError, match="no neighbour"):
        transforms.smote(x[:31], y[:31])
