"""One search as an Optuna study that processes share: its storage, its slots, who has which, and its sampler.

A search of N trials is made with N slots, trials that wait, of which trial 0 is told the setting of params.yaml.
Whoever wants one changes it from waiting to running, which storages do for one process only, and no trial is ever made
beside them: so N are settled in the end, however many processes there are and however they end.

A journal has no heartbeat. A slot names the process that has it (host, pid, start): one whose process is gone is taken
up by the next, its finished folds costing nothing; one of a living process, or of another machine, is never touched.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from qlcnet.address import without_password
from qlcnet.data.search_path import cache_folder
from qlcnet.data.streams import stream
from qlcnet.search.errors import TuningError
from qlcnet.search.journal import open_journal
from qlcnet.tracking.owner import is_alive, me

log = logging.getLogger("qlcnet")


OWNER, CLAIM, TAKEN_UP, ERROR = "owner", "claim/", "taken_up", "error"  # user attributes of a trial
RELEASED = "released"  # owner: the process that had it gave it back
MOST_DEATHS = 3  # processes that may die with a trial before it has failed
SETTLED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class SeededSampler(BaseSampler):
    """TPE whose draws depend on the seed, the number of the trial and the trials before it, on nothing else.

    So a search that was killed goes on as it would have (test_a_killed_search_ends_as_an_uninterrupted_one), and
    processes side by side never draw the same numbers. Optuna's own sampler has one stream from its start on.
    """

    def __init__(self, seed: int, startup: int) -> None:
        self._seed, self._startup = seed, startup
        self._of: dict[int, TPESampler] = {}

    def _for(self, trial: FrozenTrial) -> TPESampler:
        if trial.number not in self._of:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # of `group`: conditional keys are drawn jointly
                self._of[trial.number] = TPESampler(
                    seed=stream(self._seed, "tune", trial.number) % 2**32, n_startup_trials=self._startup,
                    multivariate=True, group=True, constant_liar=True,
                )  # fmt: skip
        return self._of[trial.number]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._for(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._for(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._for(trial).sample_independent(study, trial, param_name, param_distribution)


@dataclass(frozen=True)
class Slots:
    """The trials of one search, as this process sees them."""

    name: str
    study: Study
    storage: BaseStorage
    lock: FileLock  # of all processes on this machine
    trials: int
    lost: frozenset[str] = frozenset()  # hosts that are gone for good

    @classmethod
    def open(
        cls,
        folder: Path,
        name: str,
        trials: int,
        seed: int,
        default: Mapping[str, Any],
        pruner: optuna.pruners.BasePruner | None = None,
        storage: str | None = None,
        startup: int = 10,
        lost: frozenset[str] = frozenset(),
    ) -> Slots:
        """The search `name` with `trials` slots at least, made or found. storage: an address; None: a file in `folder`.

        Raises TuningError where the address cannot be used.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        lock = _lock_of(name, folder, storage)
        with lock:
            opened = open_journal(folder, name) if storage is None else _database(storage)
            study = optuna.create_study(
                study_name=name, storage=opened, direction="maximize", load_if_exists=True,
                sampler=SeededSampler(seed, startup), pruner=pruner or optuna.pruners.NopPruner(),
            )  # fmt: skip
            there = len(study.get_trials(deepcopy=False))
            for number in range(there, trials):
                study.enqueue_trial(dict(default) if number == 0 else {})
        return cls(name, study, opened, lock, trials, lost)

    def take(self) -> Trial | None:
        """A slot that waits, or that a dead process left; None where there is none now."""
        with self.lock:
            for frozen in self._all():
                if frozen.state == TrialState.RUNNING and self._is_orphan(frozen):
                    if (trial := self._take_up(frozen)) is not None:
                        return trial
                elif frozen.state == TrialState.WAITING and self._claim(frozen):
                    trial = Trial(self.study, frozen._trial_id)
                    trial.set_user_attr(OWNER, me())
                    return trial
        return None

    def release(self, trial: Trial) -> None:
        """Give a slot back unfinished: the next process takes it up."""
        trial.set_user_attr(OWNER, RELEASED)

    def open_ones(self) -> list[FrozenTrial]:
        """Slots that are not settled."""
        return [one for one in self._all() if one.state not in SETTLED]

    def elsewhere(self) -> list[str]:
        """Machines that have a slot which nobody here can judge: it is theirs until `--lost` says they are gone."""
        hosts = {_host(one) for one in self._all() if one.state == TrialState.RUNNING and not self._is_orphan(one)}
        return sorted(hosts - {socket.gethostname(), ""})

    def settled(self) -> list[FrozenTrial]:
        """Slots that came to an end, by number."""
        return [one for one in self._all() if one.state in SETTLED]

    def _all(self) -> list[FrozenTrial]:
        found = self.study.get_trials(deepcopy=False)
        return sorted((one for one in found if one.number < self.trials), key=lambda one: one.number)

    def _claim(self, frozen: FrozenTrial) -> bool:
        # said before, since a process can die between the change of state and what it says of itself afterwards
        self.storage.set_trial_user_attr(frozen._trial_id, f"{CLAIM}{me()}", time.time())
        try:
            return self.storage.set_trial_state_values(frozen._trial_id, state=TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return False

    def _is_orphan(self, frozen: FrozenTrial) -> bool:
        """Whether the process that has a running slot is known to be gone."""
        owner = frozen.user_attrs.get(OWNER)
        owners = [owner] if owner else [key.removeprefix(CLAIM) for key in frozen.user_attrs if key.startswith(CLAIM)]
        return all(one == RELEASED or self._is_gone(one) for one in owners)

    def _is_gone(self, owner: str) -> bool:
        host = owner.partition("/")[0]
        return host in self.lost or (host == socket.gethostname() and not is_alive(owner))

    def _take_up(self, frozen: FrozenTrial) -> Trial | None:
        deaths = int(frozen.user_attrs.get(TAKEN_UP, 0)) + (frozen.user_attrs.get(OWNER) != RELEASED)
        self.storage.set_trial_user_attr(frozen._trial_id, TAKEN_UP, deaths)
        if deaths >= MOST_DEATHS:
            why = f"the process that ran it died {deaths} times (out of memory?)"
            self.storage.set_trial_user_attr(frozen._trial_id, ERROR, why)
            self.study.tell(frozen.number, state=TrialState.FAIL)
            log.warning("trial %d of %s failed: %s", frozen.number, self.name, why)
            return None
        self.storage.set_trial_user_attr(frozen._trial_id, OWNER, me())
        log.info("trial %d of %s: its process is gone; it goes on here", frozen.number, self.name)
        return Trial(self.study, frozen._trial_id)


def _host(frozen: FrozenTrial) -> str:
    return str(frozen.user_attrs.get(OWNER, "")).partition("/")[0]


def _lock_of(name: str, folder: Path, storage: str | None) -> FileLock:
    """What processes of this machine lock: a file beside the journal, or one for all who use a database."""
    if storage is None:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name.replace('/', '_')}.lock")
    cache_folder().mkdir(parents=True, exist_ok=True)
    return FileLock(cache_folder() / f"search-{re.sub(r'[^a-z0-9_.-]', '_', name.lower())}.lock")


def _database(address: str) -> RDBStorage:
    """Optuna's storage behind an address of SQLAlchemy's. Raises TuningError."""
    try:
        return RDBStorage(address, engine_kwargs={"pool_pre_ping": True}, skip_compatibility_check=False)
    except ImportError as error:
        raise TuningError(f"--storage {without_password(address)}: {error}; install the driver it names") from None
    except Exception as error:  # of SQLAlchemy and its drivers
        line = without_password(str(error).strip().splitlines()[0])
        raise TuningError(
            f"--storage {without_password(address)} cannot be used: {line}; write an address such as "
            "postgresql+psycopg://user:password@host/name, or leave it out for a file of this project"
        ) from error


def attribute(value: Any) -> Any:
    """A value as a user attribute: what JSON gives back."""
    return json.loads(json.dumps(value))
