"""Which code a fit runs, as one digest: that of its definitions, not of the files that hold them.

From the functions in ROOTS the definitions that they name are followed through the package. Each counts as its syntax
tree without comments, docstrings, annotations and our own import lines, so a comment, a moved file or a function that
no fit calls changes nothing, and an operator in code that a fit runs changes every fit that runs it
(tests/fit/test_code.py). Of a table in TABLES only the entries count that the fit's settings name; of a dataclass only
the methods whose names occur in code that counts; of a section of params.yaml no field, as its values are settings.
Where names cannot tell, too much counts rather than too little. Imports no torch.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

PACKAGE = "qlcnet"
CONFIG = "qlcnet.config"
# what fits can run code of
ROOMS = ("config", "data", "fit", "models", "quantum", "git.py", "machine.py", "paths.py", "whole.py")
ROOTS = (
    ("qlcnet.fit.fitting", "fit_fold"),  # from arrays to predictions, history and weights
    ("qlcnet.fit.data", "open_fit_data"),  # from files to arrays
    ("qlcnet.fit.fold_folder", "files_of"),  # to the bytes of files
)
# (module's last name, table): the fit's settings hold the key of the entry that is used, as a word
TABLES = frozenset(
    {
        ("heads", "HEADS"),
        ("module", "OPTIMIZERS"),
        ("module", "SCHEDULES"),
        ("head", "SHAPES"),
        ("ansatz", "ANSAETZE"),
    }
)
# modules by their last name that count where the fit's words hold it, and else are not run
SOMETIMES = frozenset({"fresh_shots"})
# modules by their last name that record what a fit was, and decide none of its bytes
RECORDS = frozenset({"computed_on"})

# The packages that decide a fit: initial weights and blocks, arithmetic, the order of steps, the metrics of an epoch.
FIT_PACKAGES = ("torch", "timm", "pytorch-lightning", "torchmetrics", "numpy")

HERE = Path(__file__).resolve().parents[1]
Place = tuple[str, str]  # module, name of a definition in it


@dataclass(frozen=True)
class _Definition:
    """A statement at the top of a module. `names`: what it may refer to; `attributes`: what it looks up with a dot."""

    text: str
    names: tuple[str | tuple[str, str], ...]  # a name, or (name, attribute)
    attributes: frozenset[str]
    imports: Mapping[str, str]  # of its own body, dotted, by local name
    methods: Mapping[str, _Definition] = field(default_factory=dict)  # that count when their names occur


@dataclass(frozen=True)
class _Module:
    definitions: Mapping[str, _Definition]
    tables: Mapping[str, Mapping[str, _Definition]]  # entries of a table by their keys
    effects: tuple[_Definition, ...]  # statements that run when it is imported
    imports: Mapping[str, str]  # dotted, by local name


class Code:
    """The texts of the modules that a fit can run, and digests of what a fit does run."""

    def __init__(self, texts: Mapping[str, bytes]) -> None:
        self.texts = texts
        self._modules: dict[str, _Module] = {}
        self._digests: dict[frozenset[str], str] = {}

    @classmethod
    def on_disk(cls, package: Path = HERE) -> Code:
        """As the files are now."""
        rooms = [package / room for room in ROOMS]
        files = [file for room in rooms for file in (room.rglob("*.py") if room.is_dir() else [room])]
        texts = {}
        for file in files:
            parts = file.relative_to(package).with_suffix("").parts
            texts[".".join((PACKAGE, *parts)).removesuffix(".__init__")] = file.read_bytes()
        return cls(texts)

    @cached_property
    def tables(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """Keys of each of TABLES that is there."""
        return {
            (module.rpartition(".")[2], name): tuple(entries)
            for module in self.texts
            for name, entries in self._module(module).tables.items()
        }

    def digest(self, words: Collection[str]) -> str:
        """32 hex digits of the code that a fit runs whose settings hold `words`."""
        chosen = frozenset(words)
        if chosen not in self._digests:
            texts = {text for _, text in self.parts(chosen)}
            self._digests[chosen] = hashlib.sha256("\0".join(sorted(texts)).encode()).hexdigest()[:32]
        return self._digests[chosen]

    @cached_property
    def whole(self) -> str:
        """Digest of the code of all fits that there can be."""
        return self.digest({*SOMETIMES, *(key for entries in self.tables.values() for key in entries)})

    def parts(self, words: Collection[str]) -> list[tuple[str, str]]:
        """What counts: (where it stands, its text)."""
        return list(_Walk(self, frozenset(words)).run())

    def _module(self, name: str) -> _Module:
        if name not in self._modules:
            self._modules[name] = _parse(name, self.texts[name])
        return self._modules[name]


class _Walk:
    """Follows names from ROOTS."""

    def __init__(self, code: Code, words: frozenset[str]) -> None:
        self.code, self.words = code, words
        self.open: list[Place] = [root for root in ROOTS if root[0] in code.texts]
        self.seen: set[Place] = set(self.open)
        self.reached: set[str] = set()  # modules, whose effects count
        self.attributes: set[str] = set()
        self.methods: list[tuple[str, str, _Definition]] = []  # whose names have not occurred yet

    def run(self) -> Iterator[tuple[str, str]]:
        for module in self.code.texts:  # sections come as arguments: nothing names their classes
            if module.startswith(CONFIG):
                for name, section in self.code._module(module).definitions.items():
                    self._wait(module, name, section)
        while self.open:
            while self.open:
                yield from self._visit(*self.open.pop())
            asked = [method for method in self.methods if method[1].rpartition(".")[2] in self.attributes]
            self.methods = [method for method in self.methods if method not in asked]
            for module, name, method in asked:
                yield from self._take(module, name, method)

    def _visit(self, module: str, name: str) -> Iterator[tuple[str, str]]:
        parsed = self.code._module(module)
        if module not in self.reached:
            self.reached.add(module)
            for effect in parsed.effects:
                yield from self._take(module, "(import)", effect)
        if name in parsed.tables:
            for key, entry in parsed.tables[name].items():
                if key in self.words:
                    yield from self._take(module, f"{name}[{key!r}]", entry)
            return
        definition = parsed.definitions[name]
        yield from self._take(module, name, definition)
        self._wait(module, name, definition)

    def _wait(self, module: str, name: str, definition: _Definition) -> None:
        waiting = [(module, f"{name}.{method}", part) for method, part in definition.methods.items()]
        self.methods += [method for method in waiting if method not in self.methods]

    def _take(self, module: str, name: str, definition: _Definition) -> Iterator[tuple[str, str]]:
        yield f"{module}:{name}", definition.text
        self.attributes |= definition.attributes
        imports = {**self.code._module(module).imports, **definition.imports}
        for reference in definition.names:
            local, attribute = reference if isinstance(reference, tuple) else (reference, "")
            if local in self.code._module(module).definitions or local in self.code._module(module).tables:
                self._follow(module, local)
            elif local in imports:
                yield from self._import(imports[local], local, attribute)

    def _import(self, dotted: str, local: str, attribute: str) -> Iterator[tuple[str, str]]:
        if not dotted.startswith(f"{PACKAGE}."):
            if dotted != PACKAGE:
                yield f"import:{local}", f"{local} = {dotted}"  # np is numpy
        elif dotted in self.code.texts:  # a module of ours, of which an attribute is named, or all
            names = [attribute] if attribute else self.code._module(dotted).definitions
            for name in names:
                self._follow(dotted, name)
        else:
            module, _, name = dotted.rpartition(".")
            if module not in self.code.texts:
                raise LookupError(f"a fit runs {dotted}, which fit.code.ROOMS leaves out")
            self._follow(module, name)

    def _follow(self, module: str, name: str) -> None:
        if module.rpartition(".")[2] in (SOMETIMES - self.words) | RECORDS:
            return
        parsed = self.code._module(module)
        if name not in parsed.definitions and name not in parsed.tables:
            if (origin := parsed.imports.get(name, "")).startswith(f"{PACKAGE}."):  # a package that hands names on
                if origin in self.code.texts:
                    for own in self.code._module(origin).definitions:
                        self._follow(origin, own)
                else:
                    self._follow(*origin.rsplit(".", 1))
            return
        if (module, name) not in self.seen:
            self.seen.add((module, name))
            self.open.append((module, name))


# --- from text to definitions ---------------------------------------------------------------------------------------


def _parse(name: str, text: bytes) -> _Module:
    definitions: dict[str, _Definition] = {}
    tables: dict[str, Mapping[str, _Definition]] = {}
    effects: list[_Definition] = []
    imports: dict[str, str] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports |= _bound_by(node)
        elif _is_docstring(node) or _is_for_types(node):
            continue
        elif (table := _target(node)) is not None and (name.rpartition(".")[2], table) in TABLES:
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            tables[table] = {
                key.value: _define(value)
                for key, value in zip(node.value.keys, node.value.values, strict=True)  # type: ignore[union-attr]
            }
        elif isinstance(node, ast.ClassDef) and (name.startswith(CONFIG) or _is_dataclass(node)):
            definitions[node.name] = _record(node, is_section=name.startswith(CONFIG))
        elif bound := list(_names_bound(node)):
            definition = _define(node)
            definitions |= dict.fromkeys(bound, definition)
        else:
            effects.append(_define(node))
    return _Module(definitions, tables, tuple(effects), imports)


def _record(node: ast.ClassDef, is_section: bool) -> _Definition:
    """A class whose methods nobody calls but by their names. Python calls those with double underscores."""
    methods, kept = {}, []
    for part in node.body:
        if not isinstance(part, ast.FunctionDef) or part.name.startswith("__"):
            kept.append(part)
        elif not (is_section and any("validator" in ast.dump(d) for d in part.decorator_list)):
            methods[part.name] = _define(part)
    if is_section:  # fields reach the identity as settings, validators decide no byte
        return _Definition(f"section {node.name}", (), frozenset(), {}, methods)
    bare = ast.ClassDef(node.name, node.bases, node.keywords, kept, node.decorator_list)
    return replace(_define(bare), methods=methods)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("'dataclass'" in ast.dump(decorator) for decorator in node.decorator_list)


def _define(node: ast.AST) -> _Definition:
    references: dict[str | tuple[str, str], None] = {}
    attributes: set[str] = set()
    imports: dict[str, str] = {}
    text = _text_of(node, references, attributes, imports)
    return _Definition(text, tuple(references), frozenset(attributes), imports)


SKIPPED = frozenset({"ctx", "type_comment", "type_params", "kind", "annotation", "returns"})


def _text_of(
    node: ast.AST, names: dict[str | tuple[str, str], None], attributes: set[str], imports: dict[str, str]
) -> str:
    """The tree in brackets, the same for every version of Python; fills in what it refers to."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        bound = _bound_by(node)
        imports |= bound
        others = sorted(f"{k} = {v}" for k, v in bound.items() if not f"{v}.".startswith(f"{PACKAGE}."))
        return f"(import {', '.join(others)})" if others else ""
    if _is_docstring(node) or _is_for_types(node):
        return ""
    if isinstance(node, ast.Name):
        names[node.id] = None
    elif isinstance(node, ast.Attribute):
        attributes.add(node.attr)
        if isinstance(node.value, ast.Name):
            names[(node.value.id, node.attr)] = None
            return f"({node.value.id}.{node.attr})"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
        attributes.add(node.value)  # getattr(x, "name")
    parts = [type(node).__name__]
    for name in node._fields:
        if name in SKIPPED:
            continue
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            parts.append(_text_of(value, names, attributes, imports))
        elif isinstance(value, list):
            inner = [
                _text_of(item, names, attributes, imports) if isinstance(item, ast.AST) else repr(item)
                for item in value
            ]
            if inner := [text for text in inner if text]:
                parts.append(f"{name}[{' '.join(inner)}]")
        elif value is not None:
            parts.append(repr(value))
    return f"({' '.join(parts)})"


def _bound_by(node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """What an import binds: dotted name by local name."""
    if isinstance(node, ast.ImportFrom):
        if node.module == "__future__":
            return {}
        return {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return {
        alias.asname or alias.name.split(".")[0]: alias.name if alias.asname else alias.name.split(".")[0]
        for alias in node.names
    }


def _names_bound(node: ast.AST) -> Iterator[str]:
    """Names that a statement at the top of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            yield part.id
        elif isinstance(part, ast.FunctionDef | ast.ClassDef):
            yield part.name


def _target(node: ast.AST) -> str | None:
    """The name that a dict literal is assigned to."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Dict):
        return None
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else None


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


# When this process imported the code: a worker that lives on after a change runs what it loaded.
LOADED = Code.on_disk()


def is_current(digest: str, words: Collection[str]) -> bool:
    """Whether this process loaded the code of that digest, and it still is on disk: some modules are imported late."""
    now = Code.on_disk()
    return LOADED.digest(words) == digest and (now.texts == LOADED.texts or now.digest(words) == digest)
