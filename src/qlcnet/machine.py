"""What this machine is and offers: cores and memory within its container's limits, accelerators, its kind of CPU.

Read from the kernel's files and from nvidia-smi: importing torch to ask it would take seconds.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path, PurePosixPath

import psutil

ROOT = Path("/")
SMI_SECONDS = 10.0


def cores(root: Path = ROOT) -> int:
    """Cores that this process may use: its affinity, and whole cores of the quotas of its control groups."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    for folder in _control_groups(root, "cpu"):
        older = (*_first_words(folder / "cpu.cfs_quota_us"), *_first_words(folder / "cpu.cfs_period_us"))
        words = _first_words(folder / "cpu.max") or older
        if len(words) == 2 and words[0].isdigit():  # "max" and -1: no limit
            found = min(found, int(words[0]) // int(words[1]))
    return max(1, found)


def free_memory(root: Path = ROOT) -> int:
    """Bytes that processes can still take: what the machine has, and what the limits of control groups leave.

    File cache that the kernel would give up counts as free.
    """
    free = int(psutil.virtual_memory().available)
    for folder in _control_groups(root, "memory"):
        for limit_name, used_name, cache_name in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _first_words(folder / limit_name), _first_words(folder / used_name)
            if limit and used and limit[0].isdigit():
                free = min(free, int(limit[0]) - int(used[0]) + _entry(folder / "memory.stat", cache_name))
    return max(0, free)


def accelerators(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """CUDA devices of this process, each as a value of CUDA_VISIBLE_DEVICES: a number, or a UUID if that names them."""
    nodes = [path for path in (root / "dev").glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdigit()]
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if not nodes or visible is None:
        return tuple(map(str, range(len(nodes))))  # CUDA counts from 0 what it sees, whatever the nodes are called
    named = []
    for name in map(str.strip, visible.split(",")):
        if not name or name.startswith("-"):
            break  # CUDA, too, ignores what follows
        named.append(name)
    return tuple(named)


def free_accelerator_memory(device: str) -> int | None:
    """Free bytes of a device of `accelerators`; None where nvidia-smi is missing or does not say."""
    command = ["nvidia-smi", f"--id={device}", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SMI_SECONDS).stdout
        return int(answer) << 20  # nvidia-smi says MiB
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


# --- what decides the last bits of a float32 sum --------------------------------------------------------------------

# of the kernel's flags, what each class of instructions needs; the first that is there whole counts
INSTRUCTIONS = {
    "AVX512": {"avx512f", "avx512bw", "avx512vl", "avx512dq"},
    "AVX2": {"avx2", "fma"},
    "AVX": {"avx"},
    "SVE": {"sve"},
    "NEON": {"asimd"},
}
# Set, they change which instructions torch and its libraries take: they are recorded with every fit. Not among them:
# CUBLAS_WORKSPACE_CONFIG, which Lightning sets itself, so that a worker has it after its first fit.
NUMERIC_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_ENABLE_INSTRUCTIONS",
    "ONEDNN_MAX_CPU_ISA",
)
# These allow sums of less precision than float32. Worker processes of this machine set them so; where somebody else
# started a worker with another value, it is recorded too.
FIXED_VARIABLES = {
    "DNNL_DEFAULT_FPMATH_MODE": "STRICT",
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
    "NVIDIA_TF32_OVERRIDE": "0",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0",
}
# What holds `training.numerics: portable`: kernels of torch and of oneDNN for AVX2, those of MKL for any CPU. MKL's for
# AVX2 do not do: on AMD's and on Intel's CPUs they give other bytes (docs/speed.md, Numbers that travel).
PORTABLE_VARIABLES = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def cpu_vendor(root: Path = ROOT) -> str:
    """As the processor says it: AuthenticAMD, GenuineIntel; on ARM the number of who made it, else the architecture."""
    known = _cpu_entries(root)
    return known.get("vendor_id") or known.get("CPU implementer") or platform.machine() or "unknown"


def instructions(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> str:
    """The widest class of INSTRUCTIONS that oneDNN may use here: what the CPU has, up to ONEDNN_MAX_CPU_ISA."""
    known = _cpu_entries(root)
    flags = set((known.get("flags") or known.get("Features") or "").split())
    there = [name for name, needed in INSTRUCTIONS.items() if needed <= flags]
    bound = _bound(environment).split("_")[0]
    if not bound or bound.startswith("AVX10"):
        return there[0] if there else "none known"
    order = list(INSTRUCTIONS)
    below = [name for name in there if bound in order and order.index(name) >= order.index(bound)]
    return below[0] if below else "SSE4.1" if "sse4_1" in flags else "none known"


def multiplies_bfloat16(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether oneDNN multiplies float32 matrices through bfloat16 here when it may: with AMX, and not held below it."""
    flags = set(_cpu_entries(root).get("flags", "").split())
    bound = _bound(environment)
    return {"amx_tile", "amx_bf16"} <= flags and (not bound or "AMX" in bound)


def kind_of_cpu() -> str:
    """What fits of two machines must have in common, to be equal to the last bit: vendor, instructions, variables."""
    variables = [f"{name}={value}" for name, value in numeric_variables().items()]
    return " ".join([cpu_vendor(), instructions(), *variables])


def numeric_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Those of NUMERIC_VARIABLES that are set, and of FIXED_VARIABLES that are set to something else."""
    named = {name: environment[name] for name in (*NUMERIC_VARIABLES, *FIXED_VARIABLES) if environment.get(name)}
    return {name: value for name, value in sorted(named.items()) if value != FIXED_VARIABLES.get(name)}


def be_portable(environment: MutableMapping[str, str] = os.environ) -> None:
    """Hold this process, and all that it starts, to PORTABLE_VARIABLES alone of NUMERIC_VARIABLES.

    Call it before torch is loaded: its libraries read them once.
    """
    for name in NUMERIC_VARIABLES:
        environment.pop(name, None)
    environment.update(PORTABLE_VARIABLES | FIXED_VARIABLES)


def is_portable(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether an environment holds PORTABLE_VARIABLES, and nothing that undoes them."""
    return numeric_variables(environment) == PORTABLE_VARIABLES


def _bound(environment: Mapping[str, str]) -> str:
    """The instructions that oneDNN is held to, in capitals; empty: to none."""
    most = (environment.get("ONEDNN_MAX_CPU_ISA") or environment.get("DNNL_MAX_CPU_ISA") or "").upper()
    return "" if most in ("DEFAULT", "ALL") else most


def _cpu_entries(root: Path) -> dict[str, str]:
    """The first processor of /proc/cpuinfo."""
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n", 1)[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


# --- the kernel's files ---------------------------------------------------------------------------------------------


def _control_groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's control groups (version 2 and 1) and of their parents, whose limits hold too.

    A container often sees its own group as the mount's root, and a path of the host in /proc: some are not there.
    """
    mount = root / "sys/fs/cgroup"
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        parts = [part for part in PurePosixPath(path).parts if part not in ("/", "..")]
        for base in (mount / controllers, mount / controller) if controllers else (mount, mount / "unified"):
            for depth in range(len(parts), -1, -1):
                yield base.joinpath(*parts[:depth])


def _first_words(path: Path) -> tuple[str, ...]:
    """Words of the first line; none if there is no such file."""
    try:
        return tuple(path.read_text(encoding="utf-8").split("\n", 1)[0].split())
    except OSError:
        return ()


def _entry(path: Path, name: str) -> int:
    """A number of a file of `name number` lines; 0 if it is not there."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)
