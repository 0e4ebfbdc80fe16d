"""The larger networks, for chainrule and PyTorch: `nn` and `F` are passed in, so that both run this one source."""

import itertools


def resnet18(nn, F, classes, width=64):
    """He et al., 2016, two 3x3 convolutions a block; for images of 32 x 32 the stem is a 3x3 convolution."""

    class Block(nn.Module):
        def __init__(self, before, channels, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)
            self.downsample = shortcut(nn, before, channels, stride)

        def forward(self, x):
            out = F.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            return F.relu(out + (x if self.downsample is None else self.downsample(x)))

    stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    return resnet(nn, stem, Block, width, 1, (2, 2, 2, 2), classes)


def resnet50(nn, F, classes, width=64):
    """He et al., 2016, bottlenecks with the stride in the 3x3 convolution; the stem is 7x7 and a pooling."""

    class Block(nn.Module):
        def __init__(self, before, channels, stride):
            super().__init__()
            inner = channels // 4
            self.conv1 = nn.Conv2d(before, inner, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(inner)
            self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(inner)
            self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(channels)
            self.downsample = shortcut(nn, before, channels, stride)

        def forward(self, x):
            out = F.relu(self.bn1(self.conv1(x)))
            out = F.relu(self.bn2(self.conv2(out)))
            out = self.bn3(self.conv3(out))
            return F.relu(out + (x if self.downsample is None else self.downsample(x)))

    stem = nn.Sequential(
        nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    )
    return resnet(nn, stem, Block, width, 4, (3, 4, 6, 3), classes)


def shortcut(nn, before, channels, stride):
    """None where the block keeps the shape."""
    if before == channels and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


def resnet(nn, stem, block, width, expansion, counts, classes):
    """Four stages, each with half the resolution and twice the channels of the one before."""
    blocks, before = [], width
    for stage, count in enumerate(counts):
        for i in range(count):
            channels = width * expansion << stage
            blocks.append(block(before, channels, 2 if stage and not i else 1))
            before = channels
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
    return nn.Sequential(stem, nn.Sequential(*blocks), *head)


def mobilenet(nn, F, classes, rows=None, last=1280, dropout=0.2):
    """MobileNetV2, Sandler et al., 2018, table 2: rows of expansion, channels, blocks, stride of the first."""
    rows = rows or (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )

    def conv(before, channels, size=1, stride=1, groups=1):
        layer = nn.Conv2d(before, channels, size, stride, size // 2, groups=groups, bias=False)
        return [layer, nn.BatchNorm2d(channels), nn.ReLU6()]

    class Block(nn.Module):
        def __init__(self, before, channels, stride, expansion):
            super().__init__()
            inner = before * expansion
            widen = conv(before, inner) if expansion > 1 else []
            narrow = nn.Conv2d(inner, channels, 1, bias=False)
            self.layers = nn.Sequential(*widen, *conv(inner, inner, 3, stride, inner), narrow)
            self.bn3 = nn.BatchNorm2d(channels)  # and no activation
            self.adds = stride == 1 and before == channels

        def forward(self, x):
            out = self.bn3(self.layers(x))
            return x + out if self.adds else out

    before = min(32, 2 * rows[0][1])
    layers = conv(3, before, 3, 2)
    for expansion, channels, count, stride in rows:
        for i in range(count):
            layers.append(Block(before, channels, 1 if i else stride, expansion))
            before = channels
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(last, classes))
    return nn.Sequential(*layers, *conv(before, last), *head)


def unet(lib, nn, F, classes, width, levels):
    """Ronneberger et al., 2015, with batch norm and padding: pooling down, transposed convolutions up."""

    def double(before, channels):
        layers = []
        for inputs in (before, channels):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        return nn.Sequential(*layers)

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            widths = [width << level for level in range(levels)]
            self.down = nn.ModuleList([double(a, b) for a, b in zip([3, *widths], widths)])
            pairs = list(itertools.pairwise(widths))[::-1]
            self.wider = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs])
            self.up = nn.ModuleList([double(2 * a, a) for a, b in pairs])
            self.last = nn.Conv2d(width, classes, 1)

        def forward(self, x):
            kept = []
            for level, layers in enumerate(self.down):
                x = layers(F.max_pool2d(x, 2) if level else x)
                kept.append(x)
            kept.pop()
            for wider, layers in zip(self.wider, self.up):
                x = layers(lib.cat([kept.pop(), wider(x)], dim=1))
            return self.last(x)

    return UNet()


def characters(nn, cell, vocabulary, hidden):
    """The next character from those before it; `cell` is nn.LSTM or nn.RNN."""

    class Characters(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, hidden)
            self.cell = cell(hidden, hidden, batch_first=True)
            self.head = nn.Linear(hidden, vocabulary)

        def forward(self, x):
            out, _ = self.cell(self.embedding(x))
            return self.head(out).flatten(0, 1)

    return Characters()


def language(nn, vocabulary, hidden, layers, dropout):
    """Zaremba, Sutskever, Vinyals, 2014: several LSTM layers with dropout around them; sequence first."""

    class Language(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocabulary, hidden)
            self.dropout = nn.Dropout(dropout)
            self.cell = nn.LSTM(hidden, hidden, layers, dropout=dropout)
            self.head = nn.Linear(hidden, vocabulary)

        def forward(self, x):
            out, _ = self.cell(self.dropout(self.embedding(x)))
            return self.head(self.dropout(out)).flatten(0, 1)

    return Language()


def gpt(lib, nn, F, vocabulary, length, layers, width, heads, dropout):
    """Radford et al., 2019, in small: normalisation before attention and before the perceptron, GELU by tanh."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1 = nn.LayerNorm(width)
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)
            self.norm2 = nn.LayerNorm(width)
            self.wide = nn.Linear(width, 4 * width)
            self.narrow = nn.Linear(4 * width, width)
            self.dropout = nn.Dropout(dropout)

        def forward(self, x):
            n, t, c = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
            x = x + self.dropout(self.out(y.transpose(1, 2).reshape(n, t, c)))
            h = F.gelu(self.wide(self.norm2(x)), approximate="tanh")
            return x + self.dropout(self.narrow(h))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, width)
            self.positions = nn.Embedding(length, width)
            self.dropout = nn.Dropout(dropout)
            self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, vocabulary, bias=False)

        def forward(self, x):
            x = self.dropout(self.tokens(x) + self.positions(lib.arange(x.shape[1], device=x.device)))
            return self.head(self.norm(self.blocks(x))).flatten(0, 1)

    return GPT()


def encoder(lib, nn, vocabulary, length, classes, layers, width, heads, dropout):
    """A label for a text: Transformer encoder (Vaswani et al., 2017), the mean over the positions, a linear layer."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocabulary, width)
            self.positions = nn.Embedding(length, width)
            layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True)
            self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
            self.head = nn.Linear(width, classes)

        def forward(self, x):
            x = self.tokens(x) + self.positions(lib.arange(x.shape[1]))
            return self.head(self.layers(x).mean(dim=1))

    return Encoder()


def vae(lib, nn, F, inputs, hidden, latent):
    """Kingma and Welling, 2014: reconstruction, mean and logarithm of the variance of the posterior."""

    class VAE(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(inputs, hidden)
            self.mean = nn.Linear(hidden, latent)
            self.spread = nn.Linear(hidden, latent)
            self.outer = nn.Linear(latent, hidden)
            self.last = nn.Linear(hidden, inputs)

        def forward(self, x, noise=None):
            h = F.relu(self.inner(x))
            mean, logvar = self.mean(h), self.spread(h)
            deviation = lib.exp(0.5 * logvar)
            z = mean + (lib.randn_like(deviation) if noise is None else noise) * deviation
            return self.last(F.relu(self.outer(z))), mean, logvar

    return VAE()


def dcgan(nn, size, latent, width):
    """Radford, Metz, Chintala, 2016: generator and discriminator of 4x4 convolutions with stride 2."""
    levels = size.bit_length() - 4  # from 4 x 4 to half the size
    widest = width << levels
    up = [nn.ConvTranspose2d(latent, widest, 4, 1, 0, bias=False), nn.BatchNorm2d(widest), nn.ReLU()]
    down = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for level in range(levels):
        b, a = width << level, width << level + 1
        down += [nn.Conv2d(b, a, 4, 2, 1, bias=False), nn.BatchNorm2d(a), nn.LeakyReLU(0.2)]
        a, b = widest >> level, widest >> level + 1
        up += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    up += [nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh()]
    down += [nn.Conv2d(widest, 1, 4, 1, 0, bias=False), nn.Flatten(0)]
    return nn.Sequential(*up), nn.Sequential(*down)
