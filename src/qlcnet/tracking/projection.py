"""Runs in the tracking store, found by fingerprint: made, followed and finished. Synchronous; errors are raised."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlcnet.fit.fold_folder import read_config, read_history
from qlcnet.scratch import scratch_folder
from qlcnet.tracking import content
from qlcnet.tracking.backend import Backend, brief, open_backend
from qlcnet.tracking.content import Config
from qlcnet.tracking.owner import OWNER, is_alive, me, of_this_machine
from qlcnet.tracking.patch import FILE as PATCH
from qlcnet.tracking.patch import Uncommitted

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun
    from mlflow.entities import RunInfo


RUNNING, FINISHED, FAILED, KILLED = "RUNNING", "FINISHED", "FAILED", "KILLED"
ERROR = "error"  # tag: why a run did not come to its end
UNKNOWN_PATCH = "not kept: this run was written after its fits"
NOTE = "mlflow.note.content"  # tag: what the UI shows as a run's description
METRICS_A_BATCH = 1000  # MLflow's limit of one log_batch
RUNS_A_SEARCH = 50_000  # likewise of one search


@dataclass(eq=False)
class Run:
    """A run of the store. A `foreign` one belongs to another living process: nothing is written to it."""

    id: str
    name: str
    status: str
    foreign: bool = False
    children: dict[str, list[Run]] = field(default_factory=dict)  # of a parent, by fingerprint
    epochs: set[int] = field(default_factory=set)  # of a fold: those that are logged

    @property
    def is_open(self) -> bool:
        """Whether there is something left to write."""
        return self.status == RUNNING and not self.foreign


class FilesError(OSError):
    """A run's tables and figures cannot be kept; the message names the folder and what to do."""


class Projection:
    """The runs of one store. `made` counts those that were created."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.client = backend, backend.client
        self.made = 0

    @classmethod
    def open(cls, root: Path) -> Projection:
        """The store of the project in `root`. Raises TrackingError."""
        return cls(open_backend(root))

    def end_orphans(self) -> int:
        """Give runs whose process on this machine is gone (kill -9, power cut) the status KILLED; returns how many."""
        orphans = [
            run
            for run in self._search(f"attributes.status = '{RUNNING}' AND {of_this_machine()}")
            if not is_alive(run.data.tags[OWNER])
        ]
        for run in orphans:
            self.client.set_terminated(run.info.run_id, KILLED)
        return len(orphans)

    def parent(self, configs: Sequence[Config]) -> Run:
        """The run of one task x backbone x model, given the config.json of every fold: found, taken up again, or made.

        A finished one stays as it is. One that another living process is writing comes back `foreign`.
        """
        config, tags = configs[0], content.parent_tags(configs)
        name = f"{content.model_name(config)}, {config['task']}"
        with self.backend.lock():  # finding and claiming must be one step for processes side by side
            found = self._find(tags["fingerprint"])
            if not found:
                run = self._create(name, {**tags, OWNER: me()}, config)
                # where machines do not wait for each other, one may have made the same run: the first of them stays
                found = [] if self.backend.is_locked else self._find(tags["fingerprint"])
                if not found or found[0].info.run_id == run.id:
                    return run
                self.client.delete_run(run.id)
                self.made -= 1
            run = Run(found[0].info.run_id, name, found[0].info.status)
            owner = found[0].data.tags.get(OWNER, "")
            run.foreign = run.status == RUNNING and owner != me() and is_alive(owner)
            if run.status != FINISHED and not run.foreign:
                self._take_files(found[0].info)
                self.client.set_tag(run.id, OWNER, me())
                if ERROR in found[0].data.tags:
                    self.client.delete_tag(run.id, ERROR)
                self.client.update_run(run.id, status=RUNNING)
                run.status = RUNNING
        for child in self._search(f"tags.`mlflow.parentRunId` = '{run.id}'"):
            former = Run(child.info.run_id, child.info.run_name, child.info.status)
            run.children.setdefault(child.data.tags.get("fingerprint", ""), []).append(former)
        return run

    def find_model(self, configs: Sequence[Config]) -> str | None:
        """The id of a model's run, if there is one."""
        found = self._find(content.parent_fingerprint(configs))
        return found[0].info.run_id if found else None

    def find_study(self, digest: str) -> tuple[str, str] | None:
        """Id and status of a study's run, if there is one."""
        found = self._search(f"tags.fingerprint = '{digest}' AND tags.kind = 'study'")
        return (found[0].info.run_id, found[0].info.status) if found else None

    def create_study(self, tags: Mapping[str, str]) -> str:
        """A new run of a study; returns its id."""
        note = "All of it again, and compared: `qlcnet reproduce COMMIT`, with the commit that has these results"
        run = self.client.create_run(
            self.backend.experiment_id, tags={**tags, OWNER: me(), NOTE: note}, run_name=f"study: {tags['task']}"
        )
        self._take_files(run.info)
        return run.info.run_id

    def start_fold(self, parent: Run, config: Config, started: int | None = None) -> Run:
        """The run of one fold below `parent`; `started` in ms since 1970, default now.

        A finished one comes back as it is. What an interrupted fit left of it is deleted (MLflow keeps deleted runs
        until `mlflow gc`) and a new one made, so that no epoch is there twice.
        """
        name = content.fold_name(config)
        former = parent.children.setdefault(config["fingerprint"], [])
        for run in former:
            if run.status == FINISHED:
                return run
        if parent.foreign:
            return Run("", name, RUNNING, foreign=True)
        while former:
            self.client.delete_run(former.pop().id)
        tags = {**content.fold_tags(config), "mlflow.parentRunId": parent.id, OWNER: me()}
        former.append(self._create(name, tags, config, started))
        return former[-1]

    def log_epochs(self, run: Run, rows: Sequence[tuple[Mapping[str, float], int]]) -> None:
        """Log epochs that are not yet there: metrics with the key `epoch`, and the time in ms since 1970."""
        from mlflow.entities import Metric

        if not run.is_open:
            return
        metrics = []
        for row, moment in rows:
            epoch = int(row["epoch"])
            if epoch not in run.epochs:
                values = content.finite({name: value for name, value in row.items() if name != "epoch"})
                metrics += [Metric(name, value, moment, epoch) for name, value in values.items()]
                run.epochs.add(epoch)
        for start in range(0, len(metrics), METRICS_A_BATCH):
            self.client.log_batch(run.id, metrics=metrics[start : start + METRICS_A_BATCH])

    def finish_fold(
        self, run: Run, folder: Path, provenance: Mapping[str, Any], times: tuple[int, int] | None = None
    ) -> None:
        """Add what the fold folder holds and the run lacks, and close the run.

        `times`: start and end of the fit in ms since 1970, where the run is written after the fact; default now.
        """
        if not run.is_open:
            return
        history, (start, end) = read_history(folder), times or (_now(), _now())
        share = (end - start) / max(len(history), 1)
        self.log_epochs(run, [(row, round(start + share * (i + 1))) for i, row in enumerate(history)])
        self._log(run, content.fit_seconds([provenance]), content.facts_of(read_config(folder)), [provenance])
        self._end(run, FINISHED, times and end)

    def add_fold(self, parent: Run, config: Config, folder: Path, provenance: Mapping[str, Any]) -> None:
        """Add a whole fold from its folder, with the times of its fit where they are known."""
        times = content.fit_times(provenance)
        self.finish_fold(self.start_fold(parent, config, times and times[0]), folder, provenance, times)

    def finish_parent(
        self,
        run: Run,
        folder: Path,
        provenances: Sequence[Mapping[str, Any]],
        stage_seconds: float | None = None,
        patch: Uncommitted | None = None,
    ) -> None:
        """Add out-of-fold metrics and files, computed from `results/folds/<task>/<backbone>/<model>`; close the run.

        patch: edits that no commit had when the fits began; None where there were none, or it is not known.
        """
        from qlcnet.tracking.outcome import write_outcome

        if not run.is_open:
            return
        with scratch_folder(self.backend.place.project.scratch) as scratch:
            files = scratch / "files"
            files.mkdir()
            metrics = {**write_outcome(folder, files), **content.fit_seconds(provenances)}
            if patch and patch.text:
                (files / PATCH).write_bytes(patch.text)
            self._log_files(run, files)
        if any(p.get("dirty") for p in provenances):
            self.client.set_tag(run.id, "patch", patch.state if patch else UNKNOWN_PATCH)
        if stage_seconds is not None:
            metrics["seconds_stage"] = stage_seconds
        self._log(run, metrics, {}, provenances)
        ends = [times[1] for p in provenances if (times := content.fit_times(p))]
        self._end(run, FINISHED, max(ends) if len(ends) == len(provenances) and stage_seconds is None else None)

    @contextmanager
    def failing_with(self, parent: Run) -> Iterator[None]:
        """While a parent is completed: it and its folds do not stay RUNNING where that raises."""
        try:
            yield
        except BaseException as error:
            status = FAILED if isinstance(error, Exception) else KILLED
            with suppress(Exception):  # of a store that is gone; its next writer ends what this process leaves
                for run in [*chain.from_iterable(parent.children.values()), parent]:
                    self.stop(run, status, brief(error))
            raise

    def stop(self, run: Run, status: str, reason: str = "") -> None:
        """Close a run that did not come to its end: FAILED or KILLED, with the reason as a tag."""
        if not run.is_open:
            return
        if reason:
            self.client.set_tag(run.id, ERROR, reason)
        self._end(run, status, None)

    def _log_files(self, run: Run, files: Path) -> None:
        try:
            self.client.log_artifacts(run.id, str(files))
        except OSError as error:
            if self.backend.place.is_server:  # what requests raises is an OSError too
                raise
            raise FilesError(
                f"files of runs cannot be written: {error.filename or self.backend.place.artifacts}: "
                f"{error.strerror or error}; make room there, or let yourself write there"
            ) from error

    def _create(self, name: str, tags: Mapping[str, str], config: Config, started: int | None = None) -> Run:
        from mlflow.entities import Dataset, DatasetInput, InputTag, Param

        run = self.client.create_run(self.backend.experiment_id, start_time=started, tags=dict(tags), run_name=name)
        self.made += 1
        self._take_files(run.info)
        self.client.set_tag(run.info.run_id, NOTE, f"Again, and compared: `qlcnet reproduce {run.info.run_id}`")
        params = [Param(name, value) for name, value in content.params_of(config).items()]
        for start in range(0, len(params), 100):
            self.client.log_batch(run.info.run_id, params=params[start : start + 100])
        if digest := tags.get("data.images"):
            source = f'{{"task": "{config["task"]}"}}'
            dataset = Dataset(config["task"], digest[:16], source_type="qlcnet", source=source)
            self.client.log_inputs(
                run.info.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "cross-validation")])]
            )
        return Run(run.info.run_id, name, RUNNING)

    def _take_files(self, info: RunInfo) -> None:
        if database := self.backend.database:
            database.take_files(info.run_id, info.artifact_uri)

    def _find(self, fingerprint: str) -> list[MlflowRun]:
        """The runs of a model: a finished one before others, an older one before younger ones."""
        found = self._search(f"tags.fingerprint = '{fingerprint}' AND tags.kind = 'model'")
        return sorted(found, key=lambda run: (run.info.status != FINISHED, run.info.start_time, run.info.run_id))

    def _log(
        self,
        run: Run,
        metrics: Mapping[str, float],
        params: Mapping[str, str],
        provenances: Sequence[Mapping[str, Any]],
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        self.client.log_batch(
            run.id,
            metrics=[Metric(name, value, _now(), 0) for name, value in content.finite(metrics).items()],
            params=[Param(name, value) for name, value in params.items()],
            tags=[RunTag(name, value) for name, value in content.provenance_tags(provenances).items()],
        )

    def _end(self, run: Run, status: str, end: int | None) -> None:
        self.client.set_terminated(run.id, status, end_time=end)
        run.status = status

    def _search(self, text: str) -> list[MlflowRun]:
        return list(self.client.search_runs([self.backend.experiment_id], text, max_results=RUNS_A_SEARCH))


def _now() -> int:
    return int(time.time() * 1000)
