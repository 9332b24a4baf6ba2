"""Sections of what was run: data, workflow and networks, cost, versions, how to run it again."""

from __future__ import annotations

from qlcnet import machine
from qlcnet.data.groups import BY_ORDER
from qlcnet.report import data_plots, drawings
from qlcnet.report.content import Block, Cell, Context, Heading, Note, Plot, Row, Table, Text, count
from qlcnet.report.study import TaskResults
from qlcnet.report.summary import versions as installed
from qlcnet.report.words import big, head_words, protocol_words, sizes_words, training_rows


def data(context: Context) -> list[Block]:
    """Where images come from, under which licence, how many of each class, and what they look like."""
    blocks: list[Block] = []
    for name, task in context.study.tasks.items():
        blocks += [Heading(name)] if len(context.study.tasks) > 1 else []
        blocks.append(Table(["", ""], _origin_rows(context, task), f"{name}: origin and use.", sortable=False))
        plots = [Plot(f"{name}-class-counts", data_plots.class_counts(task), f"{name}: images of each class.")]
        report = context.study.params.report
        if report.pictures:
            figure = data_plots.examples(task, report.examples)
            plots.append(Plot(f"{name}-examples", figure, f"{name}: examples of each class, as stored."))
        blocks.append(Row(plots))
    return blocks


def _origin_rows(context: Context, task: TaskResults) -> list[list[Cell | str]]:
    about, shape = task.images.about, task.images.images.shape
    used = f"{len(task.used):,}"
    if len(task.used) < len(task.images):
        limit = task.task.images_per_class
        why = f"at most {limit:,} of each class" if limit else "groups that the test part shows too are left out"
        used = f"{len(task.used):,} of {len(task.images):,} ({why})"
    stored = f"{shape[1]} x {shape[2]} pixels, {'grey' if shape[3] == 1 else 'colour'}, 8 bits"
    params = context.study.params
    sizes = dict.fromkeys(params.training_of(model).input_size for model in params.models)
    seen = [stored.split(",")[0] if size is None else f"{size} x {size} pixels, resized for training" for size in sizes]
    rows = [
        ("Title", str(about.get("title", ""))),
        ("Source", str(about.get("source", ""))),
        ("Address", str(about.get("url", ""))),
        ("Licence", str(about.get("licence", "not stated"))),
        ("Note", str(about.get("note", ""))),
        ("Images used", used),
        ("Stored as", stored),
        ("Network sees", " or ".join(seen) + (", by model" if len(seen) > 1 else "")),
        ("Protocol", protocol_words(task.task.protocol)),
        ("Groups", _groups(task)),
        ("MD5", _checksums(task, 32)),
        ("SHA-256 of the names and bytes of all files", _checksums(task, 64)),
        ("SHA-256 of images and labels", task.images.digest),
    ]
    return [[title, value] for title, value in rows if value]


def _checksums(task: TaskResults, digits: int) -> str:
    """Those of files, or of folders, by how long they are."""
    sums = dict(task.images.about.get("checksum") or {})
    return ", ".join(f"{name}: {value}" for name, value in sorted(sums.items()) if len(value) == digits)


def _groups(task: TaskResults) -> str:
    if task.images.groups is None:
        return "none known: images of the same subject could be on both sides of a fold"
    groups = len(set(task.images.groups[task.used].tolist()))
    kept = "kept together" if task.is_grouped else "not kept together: the same group can be on both sides of a fold"
    # of sets that were fetched before this was noted nothing is known
    matched = task.images.about.get("groups", {}).get("matched")
    how = ", rows taken to be in the order of the images: nothing in the file says so" if matched == BY_ORDER else ""
    found = " found as near-duplicates" if task.task.protocol.grouped == "near-duplicates" else ""
    return f"{groups:,}{found}, {kept}{how}"


def setup(context: Context) -> list[Block]:
    """Workflow, networks, models, backbones, training settings: all from params.yaml."""
    study, params = context.study, context.study.params
    tasks = list(study.tasks.values())
    models: list[list[Cell | str]] = [
        [
            name,
            ", ".join(f"{one} ({sizes_words([task.width(one) for task in tasks], 'channel')})" for one in model.inputs),
            model.fusion if len(model.inputs) > 1 else "one input",
            head_words(model),
        ]
        for name, model in params.models.items()
    ]
    backbones: list[list[Cell | str]] = [
        [
            name,
            backbone.architecture or name,
            backbone.activation if "lcnet" in (backbone.architecture or name) else "its own",
            " ".join(map(str, backbone.strides)) if "lcnet" in (backbone.architecture or name) else "its own",
            "no" if not backbone.pretrained else "yes" if backbone.pretrained is True else str(backbone.pretrained),
        ]
        for name, backbone in params.backbones.items()
    ]
    usual = training_rows(params.training)
    settings: list[list[Cell | str]] = [[title, value] for title, value in usual]
    own: list[list[Cell | str]] = [
        [name, title, value]
        for name in params.models
        for (title, value), (_, other) in zip(training_rows(params.training_of(name)), usual, strict=True)
        if value != other
    ]
    return [
        Plot("workflow", drawings.workflow(study), "From images to this report."),
        Plot("networks", drawings.networks(study), "The networks that are compared."),
        Table(["Model", "Inputs", "Fusion", "Head"], models, "Models.", sortable=False),
        Table(
            ["Backbone", "Architecture", "Activation", "Strides", "Pretrained"], backbones, "Backbones.", sortable=False
        ),
        Table(["Setting", "Value"], [*settings, ["Seed", str(params.seed)]], "Training of each fit.", sortable=False),
        *(
            [Table(["Model", "Setting", "Value"], own, "What single models have otherwise.", sortable=False)]
            if own
            else []
        ),
    ]


def cost(context: Context) -> list[Block]:
    """Parameters, multiply-adds and circuit evaluations of each model."""
    rows: list[list[Cell | str]] = []
    for summaries in context.summaries.values():
        for summary in summaries.values():
            circuits = summary.cost.circuit_evaluations
            rows.append(
                [
                    summary.task,
                    summary.backbone,
                    summary.model,
                    count(summary.cost.parameters),
                    _big(summary.cost.multiply_adds),
                    count(circuits.executed),
                    _big(circuits.hardware_quanvolution),
                    _big(circuits.hardware_head),
                ]
            )
    return [
        Text(
            "Multiply-adds are of one image. Circuits executed: a circuit is evaluated on a grid of angles, and its "
            "polynomial then serves every image (the engine `pennylane` runs every distinct patch besides); heads are "
            "computed in closed form. On quantum "
            "hardware the same study would run the circuit once a patch of every image for the channels, and for the "
            "head once a forward pass and twice a trained or input angle for its gradient (parameter shift), many "
            "shots each."
        ),
        Table(
            [
                "Task",
                "Backbone",
                "Model",
                "Parameters",
                "Multiply-adds",
                "Circuits executed",
                "Hardware: channels",
                "Hardware: head, all fits",
            ],
            rows,
            "Cost of each model. Channels are computed once and shared by all fits of a task.",
        ),
    ]


def _big(value: int) -> Cell:
    return Cell(big(value), value)


def versions(context: Context) -> list[Block]:
    """The tuple that decides bytes, and installed versions."""
    tuples = context.study.tuples
    names = sorted({name for one in tuples for name in one})
    tuple_rows: list[list[Cell | str]] = [[str(one.get(name, "–")) for name in names] for one in tuples]
    package_rows: list[list[Cell | str]] = [[name, version] for name, version in sorted(installed().items())]
    blocks: list[Block] = [
        Text(
            "The same packages, threads, memory layout, device and precision give the same bytes on one kind of CPU. "
            "These fits had:"
        ),
        Table(names, tuple_rows, "What every fit ran on.", sortable=False),
    ]
    if len(tuples) > 1:
        blocks.append(
            Note(
                "Fits of more than one tuple are compared here: last digits can differ for that alone.",
                "warning",
            )
        )
    blocks += _machines(context)
    blocks.append(Table(["Package", "Version"], package_rows, "Versions installed where this report was made."))
    return blocks


def _machines(context: Context) -> list[Block]:
    """On which kinds of CPU the fits were computed, and what follows where there are several."""
    machines = context.study.machines
    rows: list[list[Cell | str]] = [
        [
            *(str(one.get(name, "not recorded")) for name in ("vendor", "torch", "onednn", "products")),
            ", ".join(f"{name}={value}" for name, value in one.get("variables", {}).items()) or "none",
            str(one.get("accelerator", "–")),
        ]
        for one in machines
    ]
    headers = ["CPU", "torch uses", "oneDNN uses", "Matrix products", "Variables that change numerics", "Accelerator"]
    blocks: list[Block] = [Table(headers, rows, "What the fits were computed on.", sortable=False)]
    travel = all(one.get("variables") == machine.PORTABLE_VARIABLES for one in machines)
    if len(machines) > 1 and not travel:
        text = (
            f"These fits were computed on {len(machines)} kinds of machine, whose sums differ in their last bits. "
            "After some epochs that is another fit, as with another seed: compare models whose fits ran on one kind."
        )
        blocks.append(Note(text, "warning"))
    return blocks


def run_again(context: Context) -> list[Block]:
    """How to run the study again, and who did."""
    text = (
        "`qlcnet reproduce COMMIT`, with the commit that holds this report, runs its study again in a clone and says "
        "fit by fit whether the results are the same, and whether the conclusion is. "
    )
    records = context.study.reproductions
    if not records:
        return [Text(f"{text}No record of that is at hand (`--record` leaves one in reproductions/).")]
    rows: list[list[Cell | str]] = [
        [
            one.commit[:12],
            one.verdict,
            {True: "yes", False: "no", None: "cannot be told"}[one.same],
            f"{one.fits} of {one.total}",
            ", ".join(one.machine),
        ]
        for one in records
    ]
    head = ["Commit", "Farthest fit", "Same conclusion", "Fits run again", "On"]
    return [Text(f"{text}These did:"), Table(head, rows, "Reproductions of these fits that git has.", sortable=False)]
