"""What the networks are made of: convolution + BatchNorm, and the inverted residual block of the mobile ones."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Block:
    """An inverted residual (Sandler et al., arXiv 1801.04381, Table 1): expand, depthwise, project.

    Args:
        expansion: hidden channels over input channels; with 1, nothing is expanded.
        kernel: side of the depthwise kernel.
        channels: of the output.
        stride: of the depthwise convolution.
        squeeze: channels of the squeeze-and-excitation bottleneck over *input* channels (Tan et al., arXiv 1807.11626); 0: none.
        residual: adds the input where the shapes allow it.
    """

    expansion: int
    kernel: int
    channels: int
    stride: int = 1
    squeeze: float = 0.0
    residual: bool = True


def stage(
    repeats: int, expansion: int, kernel: int, channels: int, stride: int, squeeze: float = 0.0
) -> tuple[Block, ...]:
    """`repeats` blocks, of which the first has the stride."""
    return tuple(Block(expansion, kernel, channels, stride if i == 0 else 1, squeeze) for i in range(repeats))


class Builder:
    """Layers with names and a seed each, so that two builds are equal.

    Args:
        seed: of the first layer; each further one takes the next.
        activation: "relu" or "relu6".
        explicit_padding: symmetric padding by a layer of its own, as PyTorch's networks have it; else `padding="same"`, as
            TensorFlow's have it.
        epsilon: of BatchNorm.
    """

    def __init__(
        self, seed: int, *, activation: str = "relu", explicit_padding: bool = False, epsilon: float = 1e-3
    ) -> None:
        self.seed = seed
        self.activation = activation
        self.explicit_padding = explicit_padding
        self.epsilon = epsilon

    def he_normal(self) -> Any:
        """The next layer's initializer."""
        import keras

        self.seed += 1
        return keras.initializers.HeNormal(self.seed)

    def conv_bn(self, x: Any, width: int, kernel: int, stride: int, name: str, relu: bool = True) -> Any:
        """Convolution without bias, BatchNorm, activation."""
        from keras import layers

        initializer = self.he_normal()
        x, padding = self._pad(x, kernel, name)
        x = layers.Conv2D(
            width,
            kernel,
            stride,
            padding,
            use_bias=False,
            kernel_initializer=initializer,
            name=f"{name}_conv",
        )(x)
        return self._normalise(x, name, relu)

    def depthwise_bn(self, x: Any, kernel: int, stride: int, name: str) -> Any:
        """Depthwise convolution without bias, BatchNorm, activation."""
        from keras import layers

        initializer = self.he_normal()
        x, padding = self._pad(x, kernel, name)
        x = layers.DepthwiseConv2D(
            kernel, stride, padding, use_bias=False, depthwise_initializer=initializer, name=f"{name}_conv"
        )(x)
        return self._normalise(x, name, relu=True)

    def separable(self, x: Any, channels: int, name: str) -> Any:
        """Depthwise 3x3 and its BatchNorm, then 1x1 with a bias: a prediction head of SSDLite."""
        from keras import layers

        x = self.depthwise_bn(x, 3, 1, f"{name}_depthwise")
        return layers.Conv2D(channels, 1, kernel_initializer=self.he_normal(), name=f"{name}_conv")(x)

    def inverted_residual(self, x: Any, block: Block, name: str) -> tuple[Any, Any]:
        """Returns the block's output, and its expansion before the depthwise convolution (SSDLite looks at one)."""
        from keras import layers

        channels = x.shape[-1]
        hidden = y = x
        if block.expansion > 1:
            hidden = y = self.conv_bn(y, channels * block.expansion, 1, 1, f"{name}_expand")
        y = self.depthwise_bn(y, block.kernel, block.stride, f"{name}_depthwise")
        if block.squeeze:
            y = self._squeeze_and_excite(y, round(channels * block.squeeze), f"{name}_squeeze")
        y = self.conv_bn(y, block.channels, 1, 1, f"{name}_project", relu=False)
        if block.residual and block.stride == 1 and channels == block.channels:
            y = layers.Add(name=f"{name}_add")([x, y])
        return y, hidden

    def classifier(self, x: Any, classes: int) -> Any:
        """Mean over the image, then logits."""
        import keras
        from keras import layers

        self.seed += 1
        x = layers.GlobalAveragePooling2D(name="pool")(x)
        initializer = keras.initializers.GlorotUniform(self.seed)
        return layers.Dense(classes, kernel_initializer=initializer, name="logits")(x)

    def relu(self, x: Any, name: str) -> Any:
        """The network's activation."""
        from keras import layers

        return layers.ReLU(6.0 if self.activation == "relu6" else None, name=name)(x)

    def _pad(self, x: Any, kernel: int, name: str) -> tuple[Any, str]:
        from keras import layers

        if not self.explicit_padding:
            return x, "same"
        return (layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x) if kernel > 1 else x), "valid"

    def _normalise(self, x: Any, name: str, relu: bool) -> Any:
        from keras import layers

        x = layers.BatchNormalization(epsilon=self.epsilon, name=f"{name}_bn")(x)
        return self.relu(x, f"{name}_relu") if relu else x

    def _squeeze_and_excite(self, x: Any, width: int, name: str) -> Any:
        from keras import layers

        y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
        y = layers.Conv2D(width, 1, activation="relu", kernel_initializer=self.he_normal(), name=f"{name}_reduce")(y)
        y = layers.Conv2D(
            x.shape[-1], 1, activation="sigmoid", kernel_initializer=self.he_normal(), name=f"{name}_expand"
        )(y)
        return layers.Multiply(name=f"{name}_scale")([x, y])
