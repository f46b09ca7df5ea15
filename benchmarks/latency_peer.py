"""What one would write instead of a predictor: the mean of three models of scikit-learn, on columns of every choice."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.latency_tables import Networks
from predictors.estimate import Values
from supernet.encoding import Encoding


def predict(table: Networks, measured: NDArray[np.int64], ms: Values, wanted: NDArray[np.int64]) -> Values:
    """Milliseconds of some rows by a Gaussian process, a ridge and a random forest that learned of others.

    Each learns logarithms, from the columns of the table and the logarithm of the multiply-adds.

    Args:
        table: the networks.
        measured: rows to learn from.
        ms: what they took.
        wanted: rows to predict.
    """
    describe = table.features or Encoding(table.space).ordinal
    columns = [
        np.hstack([describe(genes), np.log(table.macs(genes))[:, None]])
        for genes in (table.genes[measured], table.genes[wanted])
    ]
    kernel = ConstantKernel() * RBF(10.0, (1e-1, 1e3)) + ConstantKernel() * DotProduct() + WhiteKernel(1e-2)
    models = (
        make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True)),
        make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 4, 15))),
        RandomForestRegressor(200, min_samples_leaf=1, random_state=0),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = [model.fit(columns[0], np.log(ms)).predict(columns[1]) for model in models]
    guessed: Values = np.exp(np.mean(found, axis=0))
    return guessed
