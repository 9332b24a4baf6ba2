"""Means and spread of histories over fits."""

import numpy as np

from qlcnet.evidence.learning import learning_curve


def history(*losses: float) -> dict[str, np.ndarray]:
    return {"epoch": np.arange(len(losses)), "val_loss": np.array(losses)}


def test_mean_and_sample_sd_over_fits_by_hand():
    curve = learning_curve([history(3.0, 1.0), history(1.0, 1.0)], "val_loss")
    np.testing.assert_array_equal(curve.epoch, [0, 1])
    np.testing.assert_array_equal(curve.mean, [2.0, 1.0])
    np.testing.assert_allclose(curve.sd, [np.sqrt(2), 0.0])


def test_one_fit_has_no_spread():
    np.testing.assert_array_equal(learning_curve([history(3.0, 1.0)], "val_loss").sd, [0.0, 0.0])
