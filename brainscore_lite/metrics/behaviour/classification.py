"""Linear classifiers of patterns: fitted on some stimuli, answering for others (NumPy only)."""

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import StandardScaler

from brainscore_lite.metrics.arrays import Array, as_matrix, as_numpy
from brainscore_lite.schema import ContractError

Classifier = Literal["logistic", "maximum_correlation", "ridge", "lda"]
Matrix: TypeAlias = NDArray[np.float64]
Names: TypeAlias = NDArray[np.str_]

BRAINSCORE_PENALTY = 1e-3


def classify(
    train_X: Matrix, train_labels: Names, *, test_X: Matrix, classifier: Classifier
) -> Names:
    """Answer with a class for each test pattern.

    Features are standardised by the mean and deviation of the training patterns.

    Parameters
    ----------
    train_X : ndarray, shape (n_train, n_units)
    train_labels : ndarray of str, shape (n_train,)
    test_X : ndarray, shape (n_test, n_units)
    classifier : {"logistic", "maximum_correlation", "ridge", "lda"}
        See :func:`~brainscore_lite.metrics.behaviour.decoding.decoding_accuracy`.

    Returns
    -------
    ndarray of str, shape (n_test,)
    """
    scaler = StandardScaler().fit(train_X)
    return _CLASSIFIERS[classifier](
        scaler.transform(train_X), train_labels, scaler.transform(test_X)
    )


def check_classifier(name: str) -> None:
    """Raise unless `name` is a classifier."""
    if name not in get_args(Classifier):
        raise ContractError(f"classifier is {name!r}, expected one of {get_args(Classifier)}.")


def check_labels(labels: ArrayLike, n_stimuli: int, *, what: str = "labels") -> Names:
    """Return one string for each stimulus.

    Raises
    ------
    ContractError
        If their number differs, one is missing (NaN, None), or all are the same.
    """
    given = np.asarray(labels)
    if given.shape != (n_stimuli,) or not n_stimuli:
        raise ContractError(
            f"{what} have shape {given.shape}, expected one for each of {n_stimuli} stimuli."
        )
    missing = np.flatnonzero(pd.isna(np.asarray(labels, dtype=object)))
    if missing.size:
        raise ContractError(
            f"{what}: {len(missing)} of {n_stimuli} stimuli have none (NaN or None); first: "
            f"stimulus {missing[0]}. Leave those stimuli out."
        )
    names = given.astype(str)
    if len(np.unique(names)) < 2:
        raise ContractError(f"{what} name one class ('{names[0]}'), expected at least two.")
    return names


def class_probabilities(
    train_X: Array,
    train_labels: ArrayLike,
    *,
    test_X: Array,
    penalty: float = BRAINSCORE_PENALTY,
) -> tuple[Matrix, Names]:
    """Read out the probability of each class, as Brain-Score's behavioural readout does.

    Multinomial logistic regression on features standardised by the training stimuli: the weights W
    and intercepts minimise C sum_i -log softmax(W x_i + b)[y_i] + |W|^2 / 2. With two classes the
    softmax keeps a row of weights for each class, as with more (scikit-learn's own two-class model
    is penalised twice as much).

    Parameters
    ----------
    train_X : array, shape (n_train, n_features)
    train_labels : sequence of labels, length n_train
    test_X : array, shape (n_test, n_features)
    penalty : float
        scikit-learn's C, the inverse strength of the penalty; Brain-Score's 1e-3 by default.

    Returns
    -------
    probabilities : ndarray, shape (n_test, n_classes)
        Rows sum to one.
    classes : ndarray of str, shape (n_classes,)
        In the order of their names.

    Raises
    ------
    ContractError
        If shapes disagree, values are not finite, or there are fewer than two classes.

    Examples
    --------
    >>> X = np.array([[0.0], [0.1], [1.0], [1.1]])
    >>> p, classes = class_probabilities(X, ["cat", "cat", "dog", "dog"], test_X=X, penalty=10.0)
    >>> classes[p.argmax(axis=1)].tolist()
    ['cat', 'cat', 'dog', 'dog']
    """
    known = as_numpy(as_matrix(train_X, name="train_X"))
    asked = as_numpy(as_matrix(test_X, name="test_X"))
    if known.shape[1] != asked.shape[1]:
        raise ContractError(
            f"train_X has {known.shape[1]} features and test_X {asked.shape[1]}; expected the same."
        )
    if not penalty > 0:
        raise ContractError(f"penalty is {penalty}, expected a positive number.")
    labels = check_labels(train_labels, len(known), what="train_labels")
    scaler = StandardScaler().fit(known)
    weight = 2 * penalty if len(np.unique(labels)) == 2 else penalty
    model = LogisticRegression(C=weight, solver="newton-cg")
    model.fit(scaler.transform(known), labels)
    return model.predict_proba(scaler.transform(asked)), model.classes_


def _logistic(train_X: Matrix, labels: Names, test_X: Matrix) -> Names:
    answers: Names = LogisticRegression(max_iter=2000).fit(train_X, labels).predict(test_X)
    return answers


def _ridge(train_X: Matrix, labels: Names, test_X: Matrix) -> Names:
    answers: Names = RidgeClassifier(alpha=1.0).fit(train_X, labels).predict(test_X)
    return answers


def _lda(train_X: Matrix, labels: Names, test_X: Matrix) -> Names:
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    answers: Names = model.fit(train_X, labels).predict(test_X)
    return answers


def _maximum_correlation(train_X: Matrix, labels: Names, test_X: Matrix) -> Names:
    if train_X.shape[1] < 3:
        raise ContractError(
            f"maximum_correlation correlates patterns over units, and there are {train_X.shape[1]};"
            " expected at least 3. Use another classifier."
        )
    classes = np.unique(labels)
    templates = np.stack([train_X[labels == name].mean(axis=0) for name in classes])
    answers: Names = classes[(test_X @ _unit_rows(templates).T).argmax(axis=1)]
    return answers


def _unit_rows(patterns: Matrix) -> Matrix:
    """Centre each row and scale it to length one.

    A test pattern's own mean and length change no order of its correlations, so that only the
    templates need it.
    """
    centred: Matrix = patterns - patterns.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(length > 0, length, 1.0)


_CLASSIFIERS: dict[str, Callable[[Matrix, Names, Matrix], Names]] = {
    "logistic": _logistic,
    "maximum_correlation": _maximum_correlation,
    "ridge": _ridge,
    "lda": _lda,
}
