"""How good predictions are, as plain numbers that JSON can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support


def classification_metrics(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, balanced accuracy, macro-F1, per-class figures, confusion matrix and warnings.

    truth, predicted: (n,) indices into `classes`. Means are over the classes that occur in `truth`, which are
    `classes_present` in number; of the others nothing is known, and their figures are None.
    `confusion[i][j]` counts tiles of class i that were called class j.
    """
    numbers = np.arange(len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=numbers, zero_division=0.0
    )
    present = support > 0
    return {
        "tiles": len(truth),
        "accuracy": float(np.mean(truth == predicted)),
        "balanced_accuracy": float(recall[present].mean()),
        "macro_f1": float(f1[present].mean()),
        "per_class": {
            name: {
                "precision": float(precision[i]) if present[i] else None,
                "recall": float(recall[i]) if present[i] else None,
                "f1": float(f1[i]) if present[i] else None,
                "support": int(support[i]),
            }
            for i, name in enumerate(classes)
        },
        "classes": list(classes),
        "classes_present": int(present.sum()),
        "confusion": confusion_matrix(truth, predicted, labels=numbers).tolist(),
        "warnings": label_warnings(truth, predicted, classes),
    }


def label_warnings(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str]) -> list[str]:
    """What accuracy hides: classes without tiles, never called or never found; no better than the largest class."""
    found: list[str] = []
    for i, name in enumerate(classes):
        in_truth = int(np.count_nonzero(truth == i))
        if in_truth == 0:
            found.append(f"class {name}: no tiles here, so nothing is known about it")
        elif not np.any(predicted == i):
            found.append(f"class {name}: never predicted, though {in_truth} tiles are of it")
        elif not np.any(predicted[truth == i] == i):
            found.append(f"class {name}: none of its {in_truth} tiles is found")
    majority = float(np.bincount(truth, minlength=len(classes)).max() / len(truth))
    accuracy = float(np.mean(truth == predicted))
    if accuracy <= majority:
        found.append(f"accuracy {accuracy:.3f} is no better than always naming the largest class ({majority:.3f})")
    return found
