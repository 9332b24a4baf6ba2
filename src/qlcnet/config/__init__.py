"""params.yaml as frozen, validated models: sections, parsing, and the fingerprint of any slice of them."""

from qlcnet.config.channels import (
    Channels,
    Controls,
    ConvChannels,
    FileChannels,
    FourierRandomChannels,
    NoiseChannels,
)
from qlcnet.config.circuits import QUBITS, WORDS, Circuit, Noise
from qlcnet.config.data import (
    Cifar10Source,
    DigitsSource,
    FolderSource,
    GroupsFile,
    LabelsFile,
    MedMNISTSource,
    NpzSource,
    Protocol,
    Source,
    Task,
)
from qlcnet.config.digest import canonical, fingerprint, portable_path
from qlcnet.config.evidence import Evidence, Margin, Primary
from qlcnet.config.models import HEAD_KEYS, HEADS, Backbone, Head, Input, Model
from qlcnet.config.params import Data, Execution, Params, Report
from qlcnet.config.parsing import ParamsError, load_params, parse_params
from qlcnet.config.section import Name, Section
from qlcnet.config.training import Augmentation, Training
from qlcnet.config.tuning import Dimension, Tuning

__all__ = [
    "HEADS",
    "HEAD_KEYS",
    "QUBITS",
    "WORDS",
    "Augmentation",
    "Backbone",
    "Channels",
    "Cifar10Source",
    "Circuit",
    "Controls",
    "ConvChannels",
    "Data",
    "DigitsSource",
    "Dimension",
    "Evidence",
    "Execution",
    "FileChannels",
    "FolderSource",
    "FourierRandomChannels",
    "GroupsFile",
    "Head",
    "Input",
    "LabelsFile",
    "Margin",
    "MedMNISTSource",
    "Model",
    "Name",
    "Noise",
    "NoiseChannels",
    "NpzSource",
    "Params",
    "ParamsError",
    "Primary",
    "Protocol",
    "Report",
    "Section",
    "Source",
    "Task",
    "Training",
    "Tuning",
    "canonical",
    "fingerprint",
    "load_params",
    "parse_params",
    "portable_path",
]
