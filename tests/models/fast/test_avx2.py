"""What only shows without AVX-512, or under ONEDNN_MAX_CPU_ISA=AVX2: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

STEP = """
import torch
from torch import nn
from qlcnet.models.fast.accelerate import accelerate

torch.set_num_threads(1)
torch.manual_seed(0)
plain = nn.Conv2d({channels}, 16, 1, stride={stride})
fast = nn.Conv2d({channels}, 16, 1, stride={stride}).to(memory_format=torch.channels_last)
accelerate(fast, ({channels}, 28, 28), 16)
fast.load_state_dict(plain.state_dict())
x = torch.randn(16, {channels}, 28, 28)
for network, images in ((fast, x.contiguous(memory_format=torch.channels_last)), (plain.double(), x.double())):
    for _ in range(20):  # where oneDNN writes past its memory, one step may get away with it
        network.zero_grad()
        network(images).square().sum().backward()
torch.testing.assert_close(fast.weight.grad.double(), plain.weight.grad, rtol=1e-4, atol=1e-2)
torch.testing.assert_close(fast.bias.grad.double(), plain.bias.grad, rtol=1e-4, atol=1e-2)
"""


def test_a_strided_convolution_of_few_channels_does_not_crash() -> None:
    """oneDNN's issue 6035: without AVX-512 the gradient of the weights is written past its memory in channels_last."""
    script = "".join(STEP.format(channels=channels, stride=stride) for channels, stride in ((4, 2), (7, 4)))
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-2000:]
