"""Vectors on their way into and out of a sum: flattening, stages, pipelines."""

from fedprivacy.vector.fixedpoint import FixedPoint, Rounding, Weigh
from fedprivacy.vector.flatten import Layout
from fedprivacy.vector.pipeline import Aggregate, Encoded, Pipeline, Weights
from fedprivacy.vector.rotate import Rotate
from fedprivacy.vector.spec import (
    BLOCK_VALUES,
    Lazy,
    Repeatable,
    Stage,
    Update,
    VectorSpec,
    chain,
    check_whole,
    mixes,
)

__all__ = [
    "BLOCK_VALUES",
    "Aggregate",
    "Encoded",
    "FixedPoint",
    "Layout",
    "Lazy",
    "Pipeline",
    "Repeatable",
    "Rotate",
    "Rounding",
    "Stage",
    "Update",
    "VectorSpec",
    "Weigh",
    "Weights",
    "chain",
    "check_whole",
    "mixes",
]
