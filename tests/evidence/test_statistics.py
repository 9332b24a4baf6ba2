"""The spread of a metric over fits."""

import numpy as np
import pytest

from qlcnet.evidence.statistics import fold_spread


def test_fold_spread_is_the_sample_standard_deviation():
    assert fold_spread([0.5, 0.7, 0.9]) == pytest.approx((0.7, 0.2))
    assert fold_spread([0.5, float("nan"), 0.7]) == pytest.approx((0.6, np.sqrt(0.02)))
    mean, sd = fold_spread([0.4])
    assert mean == 0.4
    assert np.isnan(sd)
    assert all(np.isnan(fold_spread([])))
