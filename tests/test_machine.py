"""The kind of CPU: what is recorded with a fit, of all that can change its last bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qlcnet.machine import (
    FIXED_VARIABLES,
    PORTABLE_VARIABLES,
    be_portable,
    cpu_vendor,
    instructions,
    is_portable,
    multiplies_bfloat16,
    numeric_variables,
)

AMD = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu sse4_1 avx fma avx2 avx512f avx512dq avx512bw avx512vl\n\n"
OLD = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu sse4_1\n\nprocessor\t: 1\nflags\t\t: avx2 fma\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd evtstrm\nCPU implementer\t: 0x41\n"


def machine_with(tmp_path: Path, cpuinfo: str) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(cpuinfo)
    return tmp_path


@pytest.mark.parametrize(
    ("cpuinfo", "vendor", "widest"),
    [(AMD, "AuthenticAMD", "AVX512"), (OLD, "GenuineIntel", "none known"), (ARM, "0x41", "NEON")],
)
def test_vendor_and_widest_instructions(tmp_path: Path, cpuinfo: str, vendor: str, widest: str) -> None:
    root = machine_with(tmp_path, cpuinfo)
    assert (cpu_vendor(root), instructions(root, {})) == (vendor, widest)


@pytest.mark.parametrize(
    ("bound", "used"),
    [
        ("AVX2", "AVX2"), ("avx2_vnni", "AVX2"), ("AVX512_CORE", "AVX512"), ("AVX10_1_512", "AVX512"),
        ("AVX", "AVX"), ("SSE41", "SSE4.1"), ("DEFAULT", "AVX512"),
    ],
)  # fmt: skip
def test_a_bound_in_the_environment_counts(tmp_path: Path, bound: str, used: str) -> None:
    root = machine_with(tmp_path, AMD)
    assert instructions(root, {"ONEDNN_MAX_CPU_ISA": bound}) == used
    assert instructions(root, {"DNNL_MAX_CPU_ISA": bound}) == used


@pytest.mark.parametrize(
    ("flags", "bound", "can"),
    [
        (" amx_bf16 amx_tile", "", True), (" avx512_bf16", "", False), (" amx_bf16 amx_tile", "AVX512_CORE", False),
        (" amx_bf16 amx_tile", "DEFAULT", True), (" amx_bf16 amx_tile", "AVX512_CORE_AMX", True),
    ],
)  # fmt: skip
def test_bfloat16_products_need_amx(tmp_path: Path, flags: str, bound: str, can: bool) -> None:
    root = machine_with(tmp_path, AMD.replace("\n\n", f"{flags}\n\n"))
    assert multiplies_bfloat16(root, {"ONEDNN_MAX_CPU_ISA": bound}) == can


def test_variables_are_recorded_unless_they_are_as_workers_set_them() -> None:
    environment = {**FIXED_VARIABLES, "MKL_CBWR": "AVX2", "ATEN_CPU_CAPABILITY": "", "HOME": "/root"}
    assert numeric_variables(environment) == {"MKL_CBWR": "AVX2"}
    assert numeric_variables({"NVIDIA_TF32_OVERRIDE": "1"}) == {"NVIDIA_TF32_OVERRIDE": "1"}


def test_portable_is_these_variables_and_no_others() -> None:
    environment = {"MKL_DEBUG_CPU_TYPE": "5", "DNNL_MAX_CPU_ISA": "SSE41", "NVIDIA_TF32_OVERRIDE": "1", "HOME": "/root"}
    be_portable(environment)
    assert environment == {**PORTABLE_VARIABLES, **FIXED_VARIABLES, "HOME": "/root"}
    assert is_portable(environment)
    assert is_portable(PORTABLE_VARIABLES), "unset, the fixed ones say the same"
    for name, value in (("MKL_DEBUG_CPU_TYPE", "5"), ("ONEDNN_DEFAULT_FPMATH_MODE", "ANY"), ("MKL_CBWR", "AVX2")):
        assert not is_portable(environment | {name: value})


def test_a_fit_says_what_torch_and_onednn_really_use() -> None:
    """Held against torch itself, in a process with bounds and in this one."""
    from qlcnet.fit.computed_on import computed_on

    bounds = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    code = "from qlcnet.fit.computed_on import computed_on\nprint(computed_on('cpu'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **bounds})
    assert run.returncode == 0, run.stderr
    bounded, here = eval(run.stdout), computed_on("cpu")
    assert here["vendor"] == bounded["vendor"] == cpu_vendor()
    assert here["products"] in ("oneDNN", "MKL")
    assert bounded["variables"].items() >= bounds.items()
    if here["torch"] in ("AVX2", "AVX512"):
        assert bounded["torch"] == bounded["onednn"] == "AVX2"
        assert here["torch"] == here["onednn"]
