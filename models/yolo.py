"""A detector in one pass: Redmon, Divvala, Girshick, Farhadi, "You only look once", 2016.

The image is a grid of S x S cells; each predicts B boxes (x, y, w, h, confidence) and C class probabilities. The cell
in which an object's centre lies answers for it, by that of its boxes which overlaps the object most.
"""

from collections.abc import Sequence

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.creation import arange, tensor, zeros
from ..autograd.ops.joining import cat, stack


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes (..., 4) and (..., 4) as (x, y, w, h), x and y their centres → (...)."""
    low = (a[..., :2] - a[..., 2:] / 2).maximum(b[..., :2] - b[..., 2:] / 2)
    high = (a[..., :2] + a[..., 2:] / 2).minimum(b[..., :2] + b[..., 2:] / 2)
    inside = (high - low).clamp(min=0).prod(-1)
    return inside / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - inside).clamp(min=1e-9)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression: indices of the boxes (n, 4) kept, best first; none overlaps a better one by more."""
    order = scores.argsort(descending=True).tolist()
    kept: list[int] = []
    for i in order:
        if not kept or float(box_iou(boxes[i], boxes[kept]).max()) <= iou_threshold:
            kept.append(i)
    return tensor(kept, dtype="int64")


class YOLOHead(nn.Module):
    """Feature maps (N, in_channels, S, S) → (N, S, S, 5·boxes + classes).

    The last axis holds (x, y, w, h, confidence) of each box and then the class probabilities: x and y of the centre
    within the cell, the roots of w and h over the image, all in [0, 1] by a sigmoid; classes by a softmax. num_classes:
    C, boxes: B of each cell.

    Source: J. Redmon, S. Divvala, R. Girshick, A. Farhadi, "You only look once: unified, real-time object detection",
    2016.
    """

    def __init__(self, in_channels: int, num_classes: int, boxes: int = 2) -> None:
        super().__init__()
        self.boxes, self.num_classes = boxes, num_classes
        self.conv = nn.Conv2d(in_channels, 5 * boxes + num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x).permute(0, 2, 3, 1)
        geometry, classes = out[..., : 5 * self.boxes], out[..., 5 * self.boxes :]
        return cat([geometry.sigmoid(), classes.softmax(-1)], -1)


class YOLO(nn.Module):
    """Images (N, 3, H, W) → the head's (N, S, S, 5·boxes + classes), with S = H / 2^len(channels).

    Convolutions with pooling, `channels` of them, before a `YOLOHead`: smaller than the paper's 24 layers. Source: J.
    Redmon, S. Divvala, R. Girshick, A. Farhadi, "You only look once: unified, real-time object detection", 2016.
    num_classes: C, boxes: B of each cell.
    """

    def __init__(
        self, num_classes: int = 20, boxes: int = 2, channels: Sequence[int] = (16, 32, 64, 128, 256, 512)
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for c in channels:
            layers += [nn.Conv2d(before, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)]
            layers += [nn.LeakyReLU(0.1, inplace=True), nn.MaxPool2d(2)]
            before = c
        self.backbone = nn.Sequential(*layers)
        self.head = YOLOHead(before, num_classes, boxes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))

    def detect(self, x: Tensor, threshold: float = 0.25, iou_threshold: float = 0.5) -> list[list[tuple]]:
        """For each image, (class, score, (x, y, w, h) over the image) of what is found, best first."""
        with no_grad():
            return decode(self(x), self.head.boxes, threshold, iou_threshold)


def absolute_boxes(out: Tensor, boxes: int) -> Tensor:
    """The head's output → boxes (N, S, S, B, 4) as (x, y, w, h) over the image."""
    size = out.shape[1]
    raw = out[..., : 5 * boxes].reshape(*out.shape[:3], boxes, 5)
    column = arange(size, dtype=out.dtype, device=out.device)
    x = (raw[..., 0] + column.view(1, 1, size, 1)) / size
    y = (raw[..., 1] + column.view(1, size, 1, 1)) / size
    return stack(x, y, raw[..., 2] ** 2, raw[..., 3] ** 2, dim=-1)


def decode(out: Tensor, boxes: int, threshold: float = 0.25, iou_threshold: float = 0.5) -> list[list[tuple]]:
    """Detections of each image: score = confidence · class probability, non-maximum suppression class by class."""
    place = absolute_boxes(out, boxes)
    found = []
    for n in range(out.shape[0]):
        confidence = out[n, ..., : 5 * boxes].reshape(-1, boxes, 5)[..., 4]
        scores = confidence.unsqueeze(-1) * out[n, ..., 5 * boxes :].reshape(confidence.shape[0], 1, -1)
        scores, where = scores.reshape(-1, scores.shape[-1]), place[n].reshape(-1, 4)
        image = []
        for c in range(scores.shape[-1]):
            likely = (scores[:, c] > threshold).nonzero()[:, 0]
            if len(likely):
                kept = likely[nms(where[likely], scores[likely, c], iou_threshold)].tolist()
                image += [(c, float(scores[i, c]), tuple(where[i].tolist())) for i in kept]
        found.append(sorted(image, key=lambda d: -d[1]))
    return found


class YOLOLoss(nn.Module):
    """The sum of squares of the paper, averaged over the images.

    5 · ((x, y) and (√w, √h) of the responsible box) + (confidence - IoU)² of it + 0.5 · confidence² of all others +
    (class probabilities - one-hot)² where there is an object. num_classes, boxes: as of `YOLO`.

    forward(out, targets): `targets` holds for each image a list of (class, x, y, w, h), over the image. coord and
    noobj are the weights 5 and 0.5.

    Source: J. Redmon et al., 2016, equation 3.
    """

    def __init__(self, num_classes: int, boxes: int = 2, coord: float = 5.0, noobj: float = 0.5) -> None:
        super().__init__()
        self.num_classes, self.boxes, self.coord, self.noobj = num_classes, boxes, coord, noobj

    def forward(self, out: Tensor, targets: Sequence[Sequence[Sequence[float]]]) -> Tensor:
        count, size, boxes = out.shape[0], out.shape[1], self.boxes
        raw = out[..., : 5 * boxes].reshape(count, size, size, boxes, 5)
        place = absolute_boxes(out.detach(), boxes)
        empty = zeros(count, size, size, boxes).to(out) + 1
        total = out.new_zeros(())
        for n, objects in enumerate(targets):
            for label, x, y, w, h in objects:
                column, row = min(int(x * size), size - 1), min(int(y * size), size - 1)
                overlap = box_iou(place[n, row, column], tensor([x, y, w, h]).to(out))
                b = int(overlap.argmax())
                empty[n, row, column, b] = 0
                found = raw[n, row, column, b]
                wanted = tensor([x * size - column, y * size - row, w**0.5, h**0.5]).to(out)
                classes = nn.functional.one_hot(tensor(int(label)), self.num_classes).to(out)
                total = total + self.coord * ((found[:4] - wanted) ** 2).sum() + (found[4] - overlap[b]) ** 2
                total = total + ((out[n, row, column, 5 * boxes :] - classes) ** 2).sum()
        total = total + self.noobj * (empty * raw[..., 4] ** 2).sum()
        return total / count
