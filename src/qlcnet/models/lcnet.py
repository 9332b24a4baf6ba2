"""LCNet of any width on timm's public MobileNetV3 class: the same modules, names and initial weights as timm's own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from timm.models import MobileNetV3
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, resolve_act_layer, round_channels
from torch import nn

EMBEDDING = 1280  # width of the head convolution at every width multiplier
NARROWEST, WIDEST = 0.35, 2.0  # multipliers in use: timm's lcnet_035 to the paper's LCNet 2.0

# timm's LCNet, with the stride of the four down-sampling stages left open (`{0}` to `{3}`)
STAGES = (
    ("dsa_r1_k3_s1_c32",),
    ("dsa_r2_k3_s{0}_c64",),
    ("dsa_r2_k3_s{1}_c128",),
    ("dsa_r1_k3_s{2}_c256", "dsa_r1_k5_s1_c256"),
    ("dsa_r4_k5_s1_c256",),
    ("dsa_r2_k5_s{3}_c512_se0.25",),
)


def build_lcnet(
    width: float,
    in_channels: int = 3,
    activation: str = "hard_swish",
    strides: Sequence[int] = (2, 2, 2, 2, 2),
) -> MobileNetV3:
    """PP-LCNet (arXiv:2109.15099) without its classifier: (B, in_channels, H, W) -> (B, 1280).

    `width` multiplies every channel count but the last (0.35 to 2.0); `strides` are those of the stem and of the four
    down-sampling stages, (1, 1, 2, 2, 2) being the variant for small images; `activation` is `relu` or `hard_swish`,
    timm's choice (squeeze-excite keeps ReLU and hard sigmoid). Equal to timm's lcnet_035 to lcnet_150, state_dict
    keys and seeded weights included (test_lcnet). Raises ValueError outside of these ranges.
    """
    if not NARROWEST <= width <= WIDEST:
        raise ValueError(f"LCNet width {width}: expected {NARROWEST} to {WIDEST}")
    stem, *down = strides
    if len(down) != 4:
        raise ValueError(f"LCNet strides {tuple(strides)}: expected five, of the stem and of four stages")
    backbone = MobileNetV3(
        block_args=decode_arch_def([[block.format(*down) for block in stage] for stage in STAGES]),
        num_classes=0,
        in_chans=in_channels,
        stem_size=16,
        num_features=EMBEDDING,
        round_chs_fn=partial(round_channels, multiplier=width),
        norm_layer=nn.BatchNorm2d,
        act_layer=resolve_act_layer({}, activation),
        se_layer=partial(SqueezeExcite, gate_layer="hard_sigmoid", force_act_layer=nn.ReLU),
    )
    # the class fixes the stem's stride at 2; its padding of 1 is the right one for stride 1 as well
    backbone.conv_stem.stride = (stem, stem)
    return backbone
