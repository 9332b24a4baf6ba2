"""The polynomial of a circuit in torch: quanvolution on an accelerator, inside a model, or exported with one."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor, nn

PIECE_BYTES = 256 << 20  # of intermediate values of a batch


class TorchQuanvolution(nn.Module):
    """uint8 or float images (B, C, H, W), values 0 to 255, -> exact channels (B, outputs or C x outputs, H', W').

    The same function as quanvolution.Quanvolution, for `coefficients` (outputs, m, m, m, m) of its polynomial: grey
    images, or each colour by itself (`colour`: grey or channels). Differentiable in the pixels of float images, except
    through the whole numbers of a luma. float32, within 1e-5 of the exact values. `padding`: 'same', 'valid' or a
    number of pixels; borders are repeated.
    """

    top: Tensor
    bottom: Tensor
    mixing: Tensor

    def __init__(
        self,
        coefficients: NDArray[np.float64],
        colour: str = "grey",
        stride: int = 1,
        padding: str | int = "same",
    ) -> None:
        super().__init__()
        if coefficients.ndim != 5:
            raise ValueError(f"coefficients of shape {coefficients.shape}; expected (outputs, m, m, m, m)")
        self.outputs, size = coefficients.shape[:2]
        self.degree, self.colour, self.stride, self.padding = (size - 1) // 2, colour, stride, padding
        matrix = coefficients.reshape(self.outputs, size**2, size**2)
        top = np.flatnonzero(matrix.any((0, 2)))  # only the pair products that occur
        bottom = np.flatnonzero(matrix.any((0, 1)))
        mixing = matrix[:, top][:, :, bottom].reshape(-1, len(bottom))
        self.register_buffer("top", torch.from_numpy(top))
        self.register_buffer("bottom", torch.from_numpy(bottom))
        self.register_buffer("mixing", torch.from_numpy(mixing).float())

    def forward(self, images: Tensor) -> Tensor:
        """Channels of a batch of images."""
        batch, colours, height, width = images.shape
        images = luma(images) if self.colour == "grey" else images.reshape(batch * colours, 1, height, width)
        angles = _pad(images.to(self.mixing.dtype) * (torch.pi / 255.0), self.stride, self.padding)
        basis = [torch.ones_like(angles)]
        for k in range(1, self.degree + 1):
            basis += [torch.cos(k * angles), torch.sin(k * angles)]
        pixels = torch.cat(basis, 1)  # (B, m, H, W)
        rows, columns = ((side - 2) // self.stride + 1 for side in pixels.shape[2:])
        left, right = (pixels[..., dx : dx + (columns - 1) * self.stride + 1 : self.stride] for dx in (0, 1))
        pairs = (left.unsqueeze(2) * right.unsqueeze(1)).flatten(1, 2)  # (B, m^2, H, columns)
        upper, lower = (pairs[:, :, dy : dy + (rows - 1) * self.stride + 1 : self.stride] for dy in (0, 1))
        # a matrix product, not conv2d, which would round to TF32 on recent accelerators
        mixed = torch.matmul(self.mixing, lower[:, self.bottom].flatten(2)).unflatten(2, (rows, columns))
        mixed = mixed.unflatten(1, (self.outputs, -1))
        values = (mixed * upper[:, self.top].unsqueeze(1)).sum(2)
        return values.reshape(batch, -1, rows, columns)

    def images_at_a_time(self, height: int, width: int, colours: int) -> int:
        """How many images keep the intermediate values of a batch below PIECE_BYTES."""
        planes = 4 * (2 * self.degree + 1) ** 2 + 2 * len(self.mixing)  # pair products and their cuts; mixed, times top
        each = 4 * planes * height * width * (colours if self.colour == "channels" else 1)
        return max(1, PIECE_BYTES // each)


def accelerator() -> str:
    """`cuda` where torch can use one, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@torch.inference_mode()
def channel_values(module: TorchQuanvolution, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Channels (N, H', W', outputs or C x outputs) of images (N, H, W, C), computed where the module's buffers are."""
    batch = torch.tensor(images, device=module.mixing.device).permute(0, 3, 1, 2)  # a copy: maps are read-only
    values: NDArray[np.float32] = module(batch).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return values


def luma(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W) as Pillow's convert("L"): whole numbers; one channel is returned as it is."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.to(torch.int32).unbind(1)
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).unsqueeze(1)


def _pad(images: Tensor, stride: int, padding: str | int) -> Tensor:
    if padding == "same":
        bottom, right = (max(0, (-(-side // stride) - 1) * stride + 2 - side) for side in images.shape[2:])
        return functional.pad(images, (0, right, 0, bottom), mode="replicate")
    if padding == "valid" or padding == 0:
        return images
    return functional.pad(images, (int(padding),) * 4, mode="replicate")
